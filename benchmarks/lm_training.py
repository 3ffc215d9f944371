"""A training step with LoRA on cached states, beside the same recommender whose lower layers run live.

The ceiling of that ratio is the cost of all bare layers divided by that of the upper ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import lm_plain, lm_subject, subject
from benchmarks.lm_subject import LanguageModel
from benchmarks.lm_timing import in_turns, medians, seconds
from legorec.batch import ClickBatch
from legorec.data.clicks import ClickStream
from legorec.engine.fit import FitOptions, Progress, Stream, fit
from legorec.engine.optim import make_optimizer
from legorec.lm.cut import Precision
from legorec.lm.length_groups import LengthGroups
from legorec.lm.pretrained import DTYPES
from legorec.objectives.sampled_softmax import SampledSoftmaxObjective
from legorec.recommender import Recommender

LR = 1e-4
REST = "everything else"


@dataclass(frozen=True)
class StepFigures:
    """Medians, in seconds of one step; ``parts`` are of further cached steps."""

    model: str
    precision: str
    depth: int
    layers: int
    batch_size: int
    items: float  # distinct, of a batch
    tokens: float
    cached: float
    live: float
    bare_lower: float
    bare_upper: float
    bare_upper_plain: float  # without the model's own dropout
    cached_loss: float  # mean of the first steps, which both take on the same batches
    live_loss: float
    parts: dict[str, float]

    @property
    def ratio(self) -> float:
        return self.live / self.cached

    @property
    def ceiling(self) -> float:
        return (self.bare_lower + self.bare_upper) / self.bare_upper

    @property
    def ceiling_plain(self) -> float:
        return (self.bare_lower + self.bare_upper_plain) / self.bare_upper_plain

    @property
    def share(self) -> float:
        """The share of the ceiling that is reached."""
        return self.ratio / self.ceiling


class Trainer:
    """One recommender in training: every ``turn`` takes the next steps."""

    def __init__(
        self, model: Recommender, stream: Stream, device: torch.device | str = "cpu", bf16: bool = False
    ) -> None:
        self.model = model.to(device)
        self.stream = stream
        self.optimizer = make_optimizer(self.model, lr=LR)
        self.losses: list[float] = []
        objective = SampledSoftmaxObjective(subject.NUM_NEGATIVES)
        options = FitOptions(bf16=bf16)
        self.rounds = fit(self.model, stream, objective, self.optimizer, options, Progress())

    def turn(self) -> None:
        self.losses.append(next(self.rounds).loss)


class BareTurns:
    """The bare layers over the items of the same batches, in the same groups of similar length.

    Ids and states are padded beforehand; only the layers are timed.
    """

    def __init__(
        self,
        model: LanguageModel,
        precision: Precision,
        stream: ClickStream,
        steps: int,
        device: torch.device | str,
        autocast: bool,
    ) -> None:
        dtype, folder = DTYPES[precision], model.checkpoint.folder
        self.lower = lm_plain.lower_model(folder, model.depth, dtype).to(device)
        self.upper = lm_plain.upper_model(folder, model.depth, dtype).to(device)
        self.autocast = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=autocast)
        self.turns = (
            [group for batch in _batches(stream, number, steps) for group in _groups(model, batch.items)]
            for number in itertools.count()
        )
        self.group: list[tuple[Tensor, Tensor]] = []
        self.states: list[Tensor] = []

    def run_lower(self) -> None:
        """The next steps' items, without gradient."""
        with torch.no_grad(), self.autocast:
            self.states = [
                self.lower(input_ids=ids, **_masked(mask)).last_hidden_state for ids, mask in self.group
            ]

    def run_upper(self) -> None:
        """The same items' upper layers, forward and backward."""
        with self.autocast:
            outs = [
                self.upper(inputs_embeds=states, **_masked(mask)).last_hidden_state
                for states, (_, mask) in zip(self.states, self.group, strict=True)
            ]
        torch.autograd.backward(outs, [torch.ones_like(out) for out in outs])

    def run_upper_with(self, dropout: bool) -> Callable[[], None]:
        def run() -> None:
            self.upper.train(dropout)
            self.run_upper()

        return run

    def advance(self) -> None:
        """Move on to the items of the next steps; not timed."""
        self.group = next(self.turns)


def measure(
    model: LanguageModel,
    precision: Precision,
    cache: Path,
    *,
    batch_size: int,
    rounds: int,
    steps: int = 1,
    device: torch.device | str = "cpu",
    autocast: bool = False,
) -> StepFigures:
    """Cached, live, bare: in turns, ``rounds`` times ``steps`` steps on the same batches, after an uncounted
    round.

    Args:
        precision: of the weights and states of the language model; adapters are float32.
        autocast: everything else in bf16 too.
    """
    model.catalog.to(device)
    lm_subject.write_cache(model, cache, precision, device)

    def stream() -> ClickStream:
        return subject.click_stream(model.store, steps, batch_size)

    cached = Trainer(lm_subject.recommender(model, cache, precision), stream(), device, autocast)
    live = Trainer(lm_subject.recommender(model, None, precision), stream(), device, autocast)
    bare = BareTurns(model, precision, stream(), steps, device, autocast)
    turns: dict[str, Callable[[], Any]] = {
        "cached": cached.turn,
        "live": live.turn,
        "next": bare.advance,
        "lower": bare.run_lower,
        "upper": bare.run_upper_with(dropout=True),
        "upper, plain": bare.run_upper_with(dropout=False),
    }
    spent = {name: each / steps for name, each in medians(in_turns(turns, rounds, device)).items()}
    sizes = [batch.items for number in range(rounds + 1) for batch in _batches(stream(), number, steps)]
    figures = StepFigures(
        model=model.name,
        precision=precision + (", autocast" if autocast else ""),
        depth=model.depth,
        layers=model.pretrained.num_layers,
        batch_size=batch_size,
        items=sum(map(len, sizes)) / len(sizes),
        tokens=sum(int(model.catalog.lengths[items].sum()) for items in sizes) / len(sizes),
        cached=spent["cached"],
        live=spent["live"],
        bare_lower=spent["lower"],
        bare_upper=spent["upper"],
        bare_upper_plain=spent["upper, plain"],
        cached_loss=cached.losses[0],
        live_loss=live.losses[0],
        parts=parts(cached, rounds, steps, device),
    )
    model.catalog.to("cpu")
    return figures


def parts(trainer: Trainer, rounds: int, steps: int, device: torch.device | str = "cpu") -> dict[str, float]:
    """The seconds of each part of a step, over ``rounds`` further rounds; not for CUDA, which runs ahead."""
    if torch.device(device).type != "cpu":
        return {}
    clock = subject.Clock()
    recommender: Any = trainer.model
    encoder = recommender.item_encoder
    layers = encoder.layers.upper
    with ExitStack() as stack:

        def watch(owner: object, attribute: str, name: str) -> None:
            stack.enter_context(clock.on(owner, attribute, name))

        watch(trainer.stream, "batch", "making batches")
        watch(recommender.source, "forward", "gathering states")
        watch(encoder, "forward", "dense layer and pooling, forward")
        watch(layers, "forward", "upper layers, forward")
        for name, module in layers.named_modules():
            if name.endswith((".lora_A.default", ".lora_B.default")):
                watch(module, "forward", "LoRA's products, forward")
            elif name.endswith(".lora_dropout.default"):
                watch(module, "forward", "LoRA's dropout, forward")
        watch(recommender.user_encoder, "forward", "user encoder, forward")
        watch(Tensor, "backward", "backward")
        watch(trainer.optimizer, "step", "optimizer")
        total = sum(seconds(trainer.turn) for _ in range(rounds))
    named = {name: spent / (rounds * steps) for name, spent in clock.seconds.items()}
    return {**named, REST: total / (rounds * steps) - sum(named.values())}


def _batches(stream: ClickStream, number: int, steps: int) -> list[ClickBatch]:
    """The batches of one turn."""
    epoch = stream.epoch(number)
    assert len(epoch) == steps
    return [stream.batch(each) for each in epoch]


def _groups(model: LanguageModel, items: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Padded ids and masks of some items, rows of similar length together as in training."""
    tokens = model.catalog.tokens(items)
    groups = LengthGroups(tokens.lengths.sum(1), tokens.ids.device)
    for ids, lengths in zip(groups.split(tokens.ids), groups.lengths, strict=True):
        yield lm_plain.padded(ids.split(lengths.tolist()))


def _masked(mask: Tensor) -> dict[str, Tensor]:
    """A mask where one is needed; on the host, where looking costs no wait."""
    if mask.device.type == "cpu" and bool(mask.all()):
        return {}
    return {"attention_mask": mask.long()}
