"""What CELA costs: texts that its language model encodes, counted, and what a step with its table takes.

    python -m benchmarks.cela --aligned "FLAGS" --fields "FLAGS" --fused "FLAGS" --history 10 --steps 30

FLAGS are those of worker.py, of the alignment, of the click model and of the click model with the table.
Texts are counted by a hook on every language model that runs: in a pass of the alignment, which has the
held-out items too, and in the steps of the click models. End to end, a language model in the place of the
table encodes the clicks of every example's history, at most --history of them, and the clicked item.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.joined import Trained
from legorec.build import build
from legorec.data.clicks import ClickStream
from legorec.lm.cut import UpperLayers
from legorec.lm.whole import WholeModel
from legorec.recipes.aligned import aligned
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.devices import choose_device
from legorec.recipes.inputs.store_data import open_data
from legorec.recipes.tower import click_stream, note_seen
from legorec.settings import Settings, read_command_line


class Counted:
    """Texts that language models have encoded."""

    def __init__(self) -> None:
        self.texts = 0

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, WholeModel | UpperLayers):
            self.texts += len(inputs[1])


@contextmanager
def counting() -> Iterator[Counted]:
    """Count in every language model, wherever it was built."""
    counted = Counted()
    handle = nn.modules.module.register_module_forward_pre_hook(counted)
    try:
        yield counted
    finally:
        handle.remove()


@dataclass(frozen=True)
class Figures:
    """Texts encoded by language models, and the CPU seconds of a step of each click model."""

    alignment: int  # in a pass, those that judge it among them
    end_to_end: int  # in an epoch, by a language model in the place of the table
    clicks: int  # in the steps of the click models
    fields: float
    fused: float


def measured(aligning: Settings, fields: Settings, fused: Settings, history: int, steps: int) -> Figures:
    """Run a pass of the alignment and some steps of the click models, the latter in turns."""
    models = [trained(each) for each in (fields, fused)]
    streams = [stream for _, stream in models]
    with counting() as in_clicks:
        for number in range(steps + 1):
            for place in range(2):  # none is always the first, with cold caches
                own = (number + place) % 2
                models[own][0].step(streams[own].batch(number), number)
    seconds = [median(each.seconds[1:]) for each, _ in models]
    return Figures(a_pass(aligning), end_to_end(fields, history), in_clicks.texts, *seconds)


def trained(settings: Settings) -> tuple[Trained, ClickStream]:
    """A click model ready for its steps, and its batches."""
    data = open_data(settings, ["train"])
    model = build_model(settings, data, choose_device(settings.device))
    note_seen(model, data.training)
    objective = build("objective", settings.model.objective, {})
    return Trained(model, settings), click_stream(settings, data.training, objective=objective)


def a_pass(settings: Settings) -> int:
    """Texts that a pass of the alignment encodes, the held-out ones too; without the backward passes."""
    task = aligned(settings, choose_device(settings.device))
    learning, model = task.learning(), task.model.eval()
    with counting() as counted, torch.no_grad():
        for stream in (learning.stream, learning.dev_stream()):
            for number in stream.epoch(0):
                learning.objective(model, stream.batch(number))
    return counted.texts


def end_to_end(settings: Settings, history: int) -> int:
    """Texts that a language model in the place of the table would encode in an epoch."""
    data = open_data(settings, ["train"])
    lengths = data.histories.whole().lengths[data.training.interactions.span]
    return int(np.minimum(lengths, history).sum() + len(lengths))


def page(figures: Figures) -> str:
    """Two tables."""
    ratio = figures.end_to_end / figures.alignment
    return "\n".join(
        [
            "| texts encoded by a language model in | count |",
            "|---|---:|",
            f"| an epoch end to end | {figures.end_to_end:,} |",
            f"| a pass of the alignment | {figures.alignment:,} |",
            f"| all steps of the click models here | {figures.clicks:,} |",
            f"| end to end over aligned | {ratio:.0f} |",
            "",
            "| a step of | CPU seconds | of the first |",
            "|---|---:|---:|",
            f"| the click model on fields | {figures.fields:.3f} | 1.00 |",
            f"| the one with the table | {figures.fused:.3f} | {figures.fused / figures.fields:.2f} |",
        ]
    )


def main(argv: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("aligned", "fields", "fused"):
        parser.add_argument(f"--{name}", required=True, metavar="FLAGS", help="of worker.py")
    parser.add_argument("--history", type=int, default=10, help="clicks that are encoded end to end (10)")
    parser.add_argument("--steps", type=int, default=30, help="of each click model (30)")
    args = parser.parse_args(argv)
    try:
        aligning, fields, fused = (
            read_command_line(shlex.split(each)) for each in (args.aligned, args.fields, args.fused)
        )
        print(page(measured(aligning, fields, fused, args.history, args.steps)))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
