"""Testing speed: ranking many impressions, legorec beside the plain baseline."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import plain_ranking, subject
from benchmarks.plain import PaddedItems, PlainModel
from legorec.batch import Ranking
from legorec.data.evaluation import Impressions
from legorec.data.store import Store
from legorec.engine.rank import rank
from legorec.metrics import evaluate
from legorec.recommender import Recommender
from legorec.scorers import by_history
from legorec.scorers.clicks import ClickScorer

PARTS = ("data path", "encoding", "scoring", "metrics")


@dataclass(frozen=True)
class TestingFigures:
    """Seconds; the baseline's are extrapolated from a sample of impressions."""

    model: str
    impressions: int
    rows: int
    histories: int  # distinct
    total: float
    parts: dict[str, float]
    sample: int
    plain_total: float
    plain_parts: dict[str, float]
    difference: float  # between the metrics of both, over the same scores

    @property
    def ratio(self) -> float:
        return self.plain_total / self.total


def whole_test(folder: Path, name: str) -> tuple[Ranking, Recommender]:
    """From the folder of the store to metrics, everything included."""
    store = Store.open(folder)
    data = Impressions(store.interactions("test"), subject.histories(store), len(store.items))
    model = subject.recommender(name, subject.open_catalog(store))
    ranking = rank(ClickScorer(model, data))
    evaluate(ranking)
    return ranking, model


def timed_parts(folder: Path, name: str) -> dict[str, float]:
    """The time of each part; all that is not encoding, scoring or metrics is the data path."""
    clock = subject.Clock()
    with ExitStack() as stack:
        stack.enter_context(clock.on(Recommender, "encode_items", "encoding"))
        stack.enter_context(clock.on(Recommender, "encode_users", "encoding"))
        stack.enter_context(clock.on(Recommender, "score", "scoring"))
        stack.enter_context(clock.on(by_history, "gather_rows", "scoring"))
        stack.enter_context(clock.on(subject.Catalog, "tokens", "data path"))
        begin = time.perf_counter()
        store = Store.open(folder)
        data = Impressions(store.interactions("test"), subject.histories(store), len(store.items))
        model = subject.recommender(name, subject.open_catalog(store))
        ranking = rank(ClickScorer(model, data))
        clock.wrap("metrics", evaluate)(ranking)
        total = time.perf_counter() - begin
    parts = {name: clock.seconds[name] for name in PARTS[1:]}
    return {PARTS[0]: total - sum(parts.values()), **parts}


def measure(folder: Path, name: str, items: PaddedItems, *, rounds: int, sample: int) -> TestingFigures:
    """The median of ``rounds`` whole tests; the baseline on the first ``sample`` impressions."""
    totals = []
    for _ in range(rounds):
        begin = time.perf_counter()
        ranking, _ = whole_test(folder, name)
        totals.append(time.perf_counter() - begin)
    store = Store.open(folder)
    test = store.interactions("test")
    whole, scored = plain_parts(store, name, items, sample)
    return TestingFigures(
        model=name,
        impressions=len(test),
        rows=len(ranking.label),
        histories=len(np.unique(test.span)),
        total=sorted(totals)[len(totals) // 2],
        parts=timed_parts(folder, name),
        sample=sample,
        plain_total=sum(whole.values()),
        plain_parts=whole,
        difference=metric_difference(*scored),
    )


Scored = tuple[list[int], list[int], list[float]]


def plain_parts(
    store: Store,
    name: str,
    items: PaddedItems,
    sample: int,
    now: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, float], Scored]:
    """Seconds of each part of the baseline, from the first ``sample`` impressions, and its scores there."""
    torch.manual_seed(2023)
    model = PlainModel(name, items, subject.WIDTH)
    test = store.interactions("test")
    chosen = list(range(sample))
    histories = len(np.unique(test.span)) / len(np.unique(test.span[:sample]))
    growth = {"encoding items": 1.0, "encoding users": histories}
    seconds: dict[str, float] = {}

    def timed(part: str, job: Callable[[], Any]) -> Any:
        begin = now()
        result = job()
        seconds[part] = (now() - begin) * growth.get(part, len(test) / sample)
        return result

    item_vectors = timed("encoding items", lambda: plain_ranking.cache_items(model, items))
    spans = sorted({int(test.span[row]) for row in chosen})
    place = {span: index for index, span in enumerate(spans)}
    user_vectors = timed(
        "encoding users", lambda: plain_ranking.cache_users(model, store, spans, item_vectors)
    )
    rows = timed("rows", lambda: plain_ranking.TestRows(test, chosen, place))
    scored = timed("scoring", lambda: plain_ranking.score_rows(rows, item_vectors, user_vectors))
    timed("metrics", lambda: plain_ranking.mean_metrics(*scored))
    return seconds, scored


def metric_difference(groups: list[int], labels: list[int], scores: list[float]) -> float:
    """The largest difference between the baseline's metrics and legorec's on the same rows.

    MRR is left out: the baseline's MRR depends on the order of tied rows.
    """
    expected = plain_ranking.mean_metrics(groups, labels, scores)
    del expected["mrr"]
    report = evaluate(Ranking(np.array(groups), np.array(labels), np.array(scores)), list(expected))
    return max(abs(report[name] - value) for name, value in expected.items())
