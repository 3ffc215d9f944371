"""Training speed of every named word-level and id model beside the plain baseline, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks import subject
from benchmarks.named_models import MODELS, family
from benchmarks.plain import PaddedItems, PlainModel, TrainingRows, training_steps
from legorec.build import build
from legorec.data.store import Store
from legorec.engine.fit import FitOptions, Progress, fit
from legorec.engine.optim import make_optimizer
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.store_data import Data
from legorec.recommender import Recommender
from legorec.registry import extras, find
from legorec.settings import Settings, read_command_line

PARTS = ("items", "users", "scores")
GROUPS = ("text", "reads the history", "flattened history", "ids")


@dataclass(frozen=True)
class NamedFigures:
    """One model: medians over the rounds, and each part's share of a step's forward pass."""

    model: str
    group: str
    plain: float  # examples a second of the baseline, measured between this model's rounds
    ours: float
    shares: dict[str, float]

    @property
    def ratio(self) -> float:
        return self.ours / self.plain


def names() -> list[str]:
    """Named models without a language model; those of semantic codes need vectors of real items."""
    found = [path.stem for path in sorted(MODELS.glob("*.yaml"))]
    return [name for name in found if family(name) == "words" and not name.startswith("semantic")]


def read(name: str, store: Store) -> Settings:
    """The settings of a named model at the sizes of the baseline."""
    argv = ["--data", "config/data/synthetic.yaml", "--model", str(MODELS / f"{name}.yaml")]
    argv += ["--exp", "config/exp/train.yaml", "--data.store", str(store.path)]
    return read_command_line(argv)


def group_of(settings: Settings) -> str:
    """Which line of the table a model belongs to."""
    if settings.model.bricks()["source"][1].name == "ids":
        return "ids"
    if "states" in extras(find("user_encoder", settings.model.user_encoder.name)):
        return "flattened history"
    return "reads the history" if settings.model.user_encoder.name == "history" else "text"


def rounds_of(name: str, store: Store, steps: int) -> tuple[Recommender, Iterator[Progress]]:
    """The model, and its training: some steps at every ``next``."""
    settings = read(name, store)
    catalog, histories = subject.open_catalog(store), subject.histories(store)
    data = Data(store, catalog, histories, settings.data)
    model = build_model(settings, data, torch.device("cpu"))
    objective: Any = build("objective", settings.model.objective, {})
    stream = subject.click_stream(store, steps)
    return model, fit(model, stream, objective, make_optimizer(model, lr=1e-3), FitOptions(), Progress())


def measure(
    store: Store,
    items: PaddedItems,
    rows: TrainingRows,
    *,
    names: Sequence[str],
    rounds: int,
    plain_steps: int,
    our_steps: int,
    say: Callable[[str], None],
) -> list[NamedFigures]:
    """Every model for ``rounds`` times ``our_steps`` steps, with steps of the plain NAML in between."""
    torch.manual_seed(2023)
    loader = DataLoader(rows, batch_size=subject.BATCH_SIZE, shuffle=True, drop_last=True)
    plain = training_steps(PlainModel("naml", items, subject.WIDTH), loader)
    next(plain)
    figures = []
    for name in names:
        say(f"training {name} ...")
        figures.append(_measured(name, store, plain, rounds, plain_steps, our_steps))
    return figures


def _measured(
    name: str, store: Store, plain: Iterator[int], rounds: int, plain_steps: int, our_steps: int
) -> NamedFigures:
    model, ours = rounds_of(name, store, our_steps)
    next(ours)
    plain_speed, our_speed = [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        examples = sum(next(plain) for _ in range(plain_steps))
        plain_speed.append(examples / (time.perf_counter() - begin))
        begin = time.perf_counter()
        progress = next(ours)
        our_speed.append(progress.counts["examples"] / (time.perf_counter() - begin))
    clock = subject.Clock()
    with ExitStack() as stack:
        for part, method in zip(PARTS, ("item_encoder", "user_encoder", "predictor"), strict=True):
            stack.enter_context(clock.on(getattr(model, method), "forward", part))
        stack.enter_context(clock.on(model.source, "forward", "items"))
        next(ours)
    total = sum(clock.seconds.values())
    shares = {part: clock.seconds.get(part, 0.0) / total for part in PARTS}
    return NamedFigures(name, group_of(read(name, store)), median(plain_speed), median(our_speed), shares)


def page(figures: Sequence[NamedFigures], our_steps: int) -> str:
    """The table, slowest last in each group, and the most expensive part of the slowest."""
    lines = [
        "## Every named model",
        f"Training examples a second, {our_steps} steps a round at the sizes above, beside the plain NAML,",
        "whose steps were timed in between; and where the time of the forward pass goes: encoding items,",
        "encoding users, scoring. Text models should be at least 3 times the baseline. Models that read a",
        "user's clicks beside each candidate, or all their tokens, and id models, which encode nothing, are",
        "apart; language models are in [benchmarks-lm.md](benchmarks-lm.md).",
        "",
        "| model | group | baseline | legorec | ratio | items | users | scores |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for group in GROUPS:
        for each in sorted((f for f in figures if f.group == group), key=lambda f: -f.ratio):
            speeds = f"{each.plain:.0f} | {each.ours:.0f} | {each.ratio:.1f}"
            shares = " | ".join(f"{each.shares[part]:.0%}" for part in PARTS)
            lines.append(f"| {each.model} | {group} | {speeds} | {shares} |")
    text = sorted((f for f in figures if f.group == "text"), key=lambda f: f.ratio)
    below = [f.model for f in text if f.ratio < 3]
    said = ", ".join(f"{f.model} ({f.ratio:.1f}, {_largest(f)})" for f in text[:3])
    lines += ["", f"Slowest text models: {said}. Below 3: {', '.join(below) or 'none'}."]
    return "\n".join(lines)


def _largest(figures: NamedFigures) -> str:
    part = max(PARTS, key=lambda each: figures.shares[each])
    return f"{figures.shares[part]:.0%} of its forward pass in {part}"
