"""Training speed: legorec beside the plain baseline, in turns."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import torch
from torch.utils.data import DataLoader

from benchmarks import subject
from benchmarks.plain import PaddedItems, PlainModel, TrainingRows, training_steps
from legorec.data.store import Store
from legorec.engine.fit import FitOptions, Progress, fit
from legorec.engine.optim import make_optimizer
from legorec.objectives.sampled_softmax import SampledSoftmaxObjective
from legorec.recommender import Recommender


@dataclass(frozen=True)
class TrainingFigures:
    """Medians over the rounds; an example is a click with its negatives."""

    model: str
    plain: float
    ours: float
    distinct_of_filled: float
    distinct_of_padded: float
    batch_share: float  # of a step: making the batch
    token_share: float  # of a step: gathering token ids

    @property
    def ratio(self) -> float:
        return self.ours / self.plain

    @property
    def data_share(self) -> float:
        return self.batch_share + self.token_share


@dataclass(frozen=True)
class OurTraining:
    """legorec's side, ready to go: ``rounds`` trains for some steps at every ``next``."""

    model: Recommender
    optimizer: torch.optim.Optimizer
    stream: subject.WatchedStream
    rounds: Iterator[Progress]


def our_training(name: str, store: Store, steps: int, clock: subject.Clock) -> OurTraining:
    """NAML or NRMS with its batches and token gathers timed by ``clock``."""
    catalog = subject.open_catalog(store)
    catalog.tokens = clock.wrap("tokens", catalog.tokens)  # type: ignore[method-assign]
    model = subject.recommender(name, catalog)
    watched = subject.WatchedStream(subject.click_stream(store, steps), clock)
    objective = SampledSoftmaxObjective(subject.NUM_NEGATIVES)
    optimizer = make_optimizer(model, lr=1e-3)
    rounds = fit(model, watched, objective, optimizer, FitOptions(), Progress())
    return OurTraining(model, optimizer, watched, rounds)


def measure(
    name: str,
    store: Store,
    items: PaddedItems,
    rows: TrainingRows,
    *,
    rounds: int,
    plain_steps: int,
    our_steps: int,
) -> TrainingFigures:
    """Both sides in turns: ``rounds`` times some steps of each, after an uncounted round."""
    torch.manual_seed(2023)
    loader = DataLoader(rows, batch_size=subject.BATCH_SIZE, shuffle=True, drop_last=True)
    plain = training_steps(PlainModel(name, items, subject.WIDTH), loader)
    clock = subject.Clock()
    ours = our_training(name, store, our_steps, clock)
    next(plain)
    next(ours.rounds)
    clock.seconds.clear()
    ours.stream.forget()
    plain_speed, our_speed, spent = [], [], 0.0
    for _ in range(rounds):
        begin = time.perf_counter()
        examples = sum(next(plain) for _ in range(plain_steps))
        plain_speed.append(examples / (time.perf_counter() - begin))
        begin = time.perf_counter()
        progress = next(ours.rounds)
        taken = time.perf_counter() - begin
        our_speed.append(progress.counts["examples"] / taken)
        spent += taken
    return TrainingFigures(
        model=name,
        plain=median(plain_speed),
        ours=median(our_speed),
        distinct_of_filled=ours.stream.items / ours.stream.slots,
        distinct_of_padded=ours.stream.items / ours.stream.padded,
        batch_share=clock.seconds["batches"] / spent,
        token_share=clock.seconds["tokens"] / spent,
    )
