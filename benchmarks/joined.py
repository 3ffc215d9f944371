"""What a training step of joined items costs beside those of its parts alone, in CPU time, in turns.

    LM="--lm_path weights/minilm --cache weights/minilm-split --llm_ver MiniLM --layer -1"
    python -m benchmarks.joined --data config/data/movielens-joined.yaml --exp config/exp/tt-llm.yaml $LM \\
        --model config/model/joined-bert-naml.yaml

Every flag but ``--steps`` is one of worker.py. A part alone is its source and item encoder with the user
encoder and the predictor of the joined model, over the same batches; so the sum of the parts has these once
for each.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from statistics import median

import torch

from legorec.batch import ClickBatch
from legorec.build import build
from legorec.data.clicks import ClickStream
from legorec.engine.optim import make_optimizer
from legorec.nn.drawing import drawing
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.devices import choose_device
from legorec.recipes.inputs.store_data import open_data
from legorec.recipes.tower import ClickObjective, click_stream, note_seen
from legorec.recommender import Recommender
from legorec.settings import Settings, read_command_line

JOINED = "joined"


def models(settings: Settings) -> tuple[dict[str, Recommender], ClickStream]:
    """The joined model and its parts alone, by name, and their batches.

    Raises:
        ValueError: items have one source.
    """
    device = choose_device(settings.device)
    data = open_data(settings, ["train"])
    joined = build_model(settings, data, device)
    if len(joined.item_parts) < 2:
        raise ValueError(
            f"{settings.model.name} has one source; name a model whose items have several `parts`"
        )
    note_seen(joined, data.training)
    found = {JOINED: joined}
    for part in joined.item_parts:
        bricks = (part.source, part.item_encoder, joined.user_encoder, joined.predictor)
        found[part.name] = Recommender(*bricks, joined.user_plugin)
    objective: ClickObjective = build("objective", settings.model.objective, {})
    found = {name: copy.deepcopy(model) for name, model in found.items()}
    return found, click_stream(settings, data.training, objective=objective)


class Trained:
    """One model and the CPU seconds of each of its steps."""

    def __init__(self, model: Recommender, settings: Settings) -> None:
        self.model, self.settings = model.train(), settings
        self.objective = build("objective", settings.model.objective, {})
        self.optimizer = make_optimizer(model, lr=settings.exp.policy.lr)
        self.seconds: list[float] = []

    def step(self, batch: ClickBatch, number: int) -> None:
        begin = time.process_time()
        bf16 = self.settings.exp.policy.precision == "bf16"
        with drawing(self.settings.seed, number), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = self.objective(self.model, batch).total
        self.optimizer.zero_grad(set_to_none=True)
        (loss / len(batch.labels)).backward()
        self.optimizer.step()
        self.seconds.append(time.process_time() - begin)


def measured(settings: Settings, steps: int) -> dict[str, float]:
    """Median CPU seconds of a step of each model, in turns over the same batches; the first is left out."""
    found, stream = models(settings)
    trained = {name: Trained(model, settings) for name, model in found.items()}
    for number in range(steps + 1):
        batch = stream.batch(number)
        order = list(trained.values())
        for place in range(len(order)):  # none is always the first, with cold caches
            order[(number + place) % len(order)].step(batch, number)
    return {name: median(each.seconds[1:]) for name, each in trained.items()}


def page(seconds: dict[str, float]) -> str:
    """A table, and the one ratio."""
    alone = {name: value for name, value in seconds.items() if name != JOINED}
    whole = sum(alone.values())
    rows = [*alone.items(), ("sum of the parts", whole), (JOINED, seconds[JOINED])]
    lines = ["| a step of | CPU seconds | of the sum |", "|---|---:|---:|"]
    lines += [f"| {name} | {value:.3f} | {value / whole:.2f} |" for name, value in rows]
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=8, help="that are counted (8)")
    args, flags = parser.parse_known_args(argv)
    try:
        print(page(measured(read_command_line(flags), args.steps)))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
