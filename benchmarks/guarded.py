"""Smaller forms of the benchmark's ratios, for `benchmarks.guard`: contenders that take turns.

The result is the median ratio of several turns, in CPU time. Wall time doubles as soon as another program
uses the core. CPU time grows too when other programs fill the caches, but by about the same for contenders
that run right after one another; taking the lowest time of each, from different moments, gave a larger
spread. CPU time does not include waiting for a disk or a lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch.utils.data import DataLoader

from benchmarks import lm_subject, metrics, named_speed, prompts, subject, testing, training
from benchmarks import store as stores
from benchmarks.core import Sizes, make_store
from benchmarks.lm_subject import Checkpoint
from benchmarks.lm_tiny import TEMPLATE, random_model
from benchmarks.lm_training import Trainer
from benchmarks.plain import PaddedItems, PlainModel, TrainingRows, training_steps
from legorec.batch import Ranking
from legorec.data.store import Store
from legorec.metrics import evaluate

Costs = dict[str, float]  # contender -> CPU seconds
cpu_seconds = partial(stores.seconds, now=time.process_time)

SIZES = Sizes(items=10_000, users=5_000, impressions=10_000, held_out=10_000)
PLAIN_STEPS, STEPS = 2, 8
NAMED, NAMED_STEPS = "lego_fastformer", 4  # the slowest named model over text
SAMPLE = 100  # impressions that the baseline is tested on
METRIC_IMPRESSIONS, METRIC_ROWS, METRIC_SAMPLE = 20_000, 750_000, 200
STORE_ITEMS, STORE_USERS, STORE_ROWS, STORE_SAMPLE = 5_000, 50_000, 1_000_000, 4_000
LM_SIZES = Sizes(items=600, users=1_000, impressions=1_000, held_out=10)
LM_BATCH, LM_STEPS, LM_DEPTH = 8, 2, 5
MINILM: dict[str, Any] = {
    **{"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 12, "num_hidden_layers": 6},
    **{"max_position_embeddings": 64, "pad_token_id": 1},
}


@dataclass(frozen=True)
class Ratio:
    """CPU seconds of one contender over those of another."""

    name: str
    above: str
    below: str
    what: str


@dataclass(frozen=True)
class Contest:
    """Contenders that take turns in a folder of their own, and the resulting ratios."""

    turns: Callable[[Path], Iterator[Costs]]
    ratios: tuple[Ratio, ...]
    sizes: str
    full: str  # the command that measures it in full

    def measure(self, folder: Path, rounds: int) -> dict[str, float]:
        """Name -> median ratio of ``rounds`` turns, after one uncounted turn."""
        turns = self.turns(folder)
        next(turns)
        costs = [next(turns) for _ in range(rounds)]
        return {
            each.name: median(turn[each.above] / turn[each.below] for turn in costs) for each in self.ratios
        }


def generated(folder: Path, sizes: Sizes) -> Path:
    """A generated store in ``folder``."""
    make_store(folder / "store", sizes)
    return folder / "store"


def train(folder: Path, name: str, *named: str) -> Iterator[Costs]:
    """A step of the baseline, of ours, of the data path in ours, of some named models."""
    store = Store.open(generated(folder, SIZES))
    items = PaddedItems.from_store(store)
    rows = TrainingRows(store, store.interactions("train"), items, subject.NUM_NEGATIVES, seed=2023)
    torch.manual_seed(2023)
    loader = DataLoader(rows, batch_size=subject.BATCH_SIZE, shuffle=True, drop_last=True)
    plain = training_steps(PlainModel(name, items, subject.WIDTH), loader)
    clock = subject.Clock(time.process_time)
    ours = training.our_training(name, store, STEPS, clock).rounds
    others = {each: named_speed.rounds_of(each, store, NAMED_STEPS)[1] for each in named}
    while True:
        clock.seconds.clear()
        spent = cpu_seconds(lambda: [next(plain) for _ in range(PLAIN_STEPS)])
        costs = {"plain": spent / PLAIN_STEPS, "ours": cpu_seconds(lambda: next(ours)) / STEPS}
        costs["data"] = sum(clock.seconds.values()) / STEPS
        for each, rounds in others.items():
            costs[each] = cpu_seconds(partial(next, rounds)) / NAMED_STEPS
        yield costs


def rank(folder: Path, name: str) -> Iterator[Costs]:
    """A whole test, from the store's folder to metrics."""
    path = generated(folder, SIZES)
    store = Store.open(path)
    items = PaddedItems.from_store(store)
    while True:
        parts, _ = testing.plain_parts(store, name, items, SAMPLE, time.process_time)
        ours = cpu_seconds(lambda: testing.whole_test(path, name))
        yield {"plain": sum(parts.values()), "ours": ours}


def report_metrics(folder: Path) -> Iterator[Costs]:
    """Metrics of made-up scores; the loop is extrapolated from some impressions."""
    ranking = metrics.made_up_ranking(METRIC_IMPRESSIONS, METRIC_ROWS, seed=2023)
    stop = int(np.searchsorted(ranking.group, METRIC_SAMPLE))
    sample = Ranking(ranking.group[:stop], ranking.label[:stop], ranking.score[:stop])
    while True:
        loop = cpu_seconds(lambda: metrics.loop_over_impressions(sample))
        pooled = cpu_seconds(lambda: roc_auc_score(ranking.label, ranking.score))
        plain = loop * METRIC_IMPRESSIONS / METRIC_SAMPLE + pooled
        yield {"plain": plain, "ours": cpu_seconds(lambda: evaluate(ranking, metrics.NAMES))}


def write_tables(folder: Path) -> Iterator[Costs]:
    """Users and interactions, from frames of raw ids to files."""
    raw = stores.raw_data(STORE_ITEMS, STORE_USERS, STORE_ROWS, np.random.default_rng(2023))
    for number in count():
        plain = stores.unitok_seconds(raw, STORE_SAMPLE, time.process_time)
        ours = cpu_seconds(partial(stores.write_store, folder / str(number), raw))
        yield {"plain": plain, "ours": ours}


def tune(folder: Path) -> Iterator[Costs]:
    """A training step over cached states, and over lower layers that run live."""
    store_folder = generated(folder, LM_SIZES)
    model_folder = random_model(Store.open(store_folder), folder / "model", "bert", MINILM)
    checkpoint = Checkpoint("random", model_folder, LM_DEPTH, TEMPLATE)
    store = lm_subject.tokenized_copy(store_folder, folder / "copy", [checkpoint])
    model = lm_subject.open_language_model(checkpoint, store)
    lm_subject.write_cache(model, folder / "cache", "fp32")

    def trainer(cache: Path | None) -> Trainer:
        stream = subject.click_stream(store, LM_STEPS, LM_BATCH)
        return Trainer(lm_subject.recommender(model, cache, "fp32"), stream)

    live, cached = trainer(None), trainer(folder / "cache")
    while True:
        yield {"live": cpu_seconds(live.turn) / LM_STEPS, "cached": cpu_seconds(cached.turn) / LM_STEPS}


def _of_training(name: str, *named: str) -> Contest:
    beside = f"the plain {name.upper()}'s step over that of"
    ratios = [
        Ratio(f"training {name.upper()}", "plain", "ours", f"{beside} legorec's"),
        Ratio(f"data path {name.upper()}", "ours", "data", "legorec's step over its batch and token ids"),
        *(Ratio(f"training {each}", "plain", each, f"{beside} {each}") for each in named),
    ]
    sizes = (
        f"{SIZES.items:,} items, {SIZES.users:,} users, {SIZES.impressions:,} impressions, "
        f"batch {subject.BATCH_SIZE}"
    )
    return Contest(lambda folder: train(folder, name, *named), tuple(ratios), sizes, "make bench")


def score_lists(folder: Path) -> Iterator[Costs]:
    model, lists = prompts.drawn_model(), prompts.drawn_lists()
    while True:
        yield prompts.prefix_seconds(model, lists)


def _of_testing(name: str) -> Contest:
    what = "the baseline's test, extrapolated, over legorec's"
    sizes = f"{SIZES.held_out:,} impressions, of which the baseline ranks {SAMPLE}, {SIZES.items:,} items"
    ratio = Ratio(f"testing {name.upper()}", "plain", "ours", what)
    return Contest(lambda folder: rank(folder, name), (ratio,), sizes, "make bench")


CONTESTS = (
    _of_training("naml", NAMED),
    _of_training("nrms"),
    _of_testing("naml"),
    _of_testing("nrms"),
    Contest(
        report_metrics,
        (
            Ratio(
                "metrics", "plain", "ours", "a loop with scikit-learn, extrapolated, over legorec's metrics"
            ),
        ),
        f"{METRIC_IMPRESSIONS:,} impressions, of which the loop sees {METRIC_SAMPLE}, {METRIC_ROWS:,} rows",
        "python -m benchmarks.metrics",
    ),
    Contest(
        write_tables,
        (Ratio("store", "plain", "ours", "UniTok's tokenize, extrapolated, over a store's tables"),),
        f"{STORE_USERS:,} users, {STORE_ROWS:,} candidate rows, of which UniTok sees {STORE_SAMPLE:,} each",
        "python -m benchmarks.store",
    ),
    Contest(
        tune,
        (Ratio("cached layers", "live", "cached", "a step without a cache over one on cached states"),),
        f"{LM_DEPTH} of {MINILM['num_hidden_layers']} layers of width {MINILM['hidden_size']} cached, fp32, "
        f"random weights, {LM_SIZES.items} items, batch {LM_BATCH}",
        "make bench-lm",
    ),
    Contest(
        score_lists,
        (Ratio("shared prefix", "whole", "shared", "whole prompts over prompts with one beginning a user"),),
        f"{prompts.USERS} users, {prompts.CANDIDATES} candidates of {prompts.OWN} tokens after "
        f"{prompts.PREFIX}, random weights",
        "python -m benchmarks.prompts",
    ),
)
