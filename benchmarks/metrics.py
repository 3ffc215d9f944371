"""Metrics of a ranking as large as MIND-small's dev split: vectorised, beside a loop over impressions.

Run ``python -m benchmarks.metrics``. The loop is timed on a sample of impressions, its time extrapolated.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from sklearn.metrics import ndcg_score, roc_auc_score

from legorec.batch import Ranking
from legorec.metrics import evaluate, per_group

NUM_IMPRESSIONS, NUM_ROWS = 73_152, 2_740_000
NAMES = ("auc", "gauc", "mrr", "ndcg@5", "ndcg@10")


def made_up_ranking(num_impressions: int, num_rows: int, seed: int) -> Ranking:
    """Impressions of uneven length, each with both classes, about 4 % clicks, which score a little higher."""
    rng = np.random.default_rng(seed)
    share = rng.lognormal(sigma=0.9, size=num_impressions)
    lengths = 2 + np.floor(share / share.sum() * (num_rows - 2 * num_impressions)).astype(np.int64)
    lengths[: num_rows - lengths.sum()] += 1
    first = np.cumsum(lengths) - lengths
    label = (rng.random(num_rows) < 0.015).astype(np.uint8)
    label[first + rng.integers(0, lengths - 1)] = 1
    label[first + lengths - 1] = 0
    score = (rng.standard_normal(num_rows) + 0.5 * label).astype(np.float32)
    return Ranking(group=np.repeat(np.arange(num_impressions), lengths), label=label, score=score)


def loop_over_impressions(ranking: Ranking) -> dict[str, np.ndarray]:
    """MIND's evaluation of each impression, with scikit-learn's AUC and nDCG."""
    bounds = np.flatnonzero(np.diff(ranking.group)) + 1
    values: dict[str, list[float]] = {name: [] for name in NAMES[1:]}
    for label, score in zip(np.split(ranking.label, bounds), np.split(ranking.score, bounds), strict=True):
        ranks = np.empty(len(score))
        ranks[np.argsort(-score, kind="stable")] = np.arange(1, len(score) + 1)
        values["gauc"].append(roc_auc_score(label, score))
        values["mrr"].append((label / ranks).sum() / label.sum())
        values["ndcg@5"].append(ndcg_score([label], [score], k=5))
        values["ndcg@10"].append(ndcg_score([label], [score], k=10))
    return {name: np.array(each) for name, each in values.items()}


def seconds(job: Callable[[], object], repeats: int) -> float:
    """The fastest of some runs."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        job()
        times.append(time.perf_counter() - begin)
    return min(times)


def variants(ranking: Ranking, seed: int) -> dict[str, Ranking]:
    """The same rows in shapes that take different code paths."""
    group, label, score = ranking.group, ranking.label, ranking.score
    order = np.random.default_rng(seed).permutation(len(score))
    return {
        "in order, float32": ranking,
        "in order, float64": Ranking(group, label, score.astype(np.float64)),
        "shuffled, float32": Ranking(group[order], label[order], score[order]),
        "many ties": Ranking(group, label, np.round(score)),
        "all tied": Ranking(group, label, np.zeros_like(score)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--impressions", type=int, default=NUM_IMPRESSIONS)
    parser.add_argument("--rows", type=int, default=NUM_ROWS)
    parser.add_argument("--sample", type=int, default=2000, help="impressions that the loop is timed on")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=2023)
    options = parser.parse_args()

    ranking = made_up_ranking(options.impressions, options.rows, options.seed)
    print(
        f"{options.impressions} impressions, {options.rows} rows, {int(ranking.label.sum())} clicks, made up"
    )
    print(evaluate(ranking, NAMES))
    fast = seconds(partial(evaluate, ranking, NAMES), options.repeats)
    print(f"\nfastest of {options.repeats} runs, {', '.join(NAMES)}:")
    for title, each in variants(ranking, options.seed).items():
        spent = seconds(partial(evaluate, each, NAMES), options.repeats)
        print(f"  {title:<20}{spent:8.3f} s")

    stop = int(np.searchsorted(ranking.group, options.sample))
    sample = Ranking(ranking.group[:stop], ranking.label[:stop], ranking.score[:stop])
    begin = time.perf_counter()
    expected = loop_over_impressions(sample)
    spent = time.perf_counter() - begin
    begin = time.perf_counter()
    pooled = roc_auc_score(ranking.label, ranking.score)
    spent_pooled = time.perf_counter() - begin
    num_sampled = len(expected["gauc"])
    whole = spent * options.impressions / num_sampled + spent_pooled
    print(
        f"\nloop with scikit-learn: {spent:.2f} s for {num_sampled} impressions and {spent_pooled:.2f} s "
        f"for the auc of all rows,\n"
        f"extrapolated to all impressions {whole:.0f} s, {whole / fast:.0f} times as long"
    )
    differences = {
        name: float(np.abs(per_group(sample, name)[1] - expected[name]).max()) for name in expected
    }
    differences["auc"] = abs(evaluate(ranking, ["auc"])["auc"] - float(pooled))
    print("largest difference: " + ", ".join(f"{name} {value:.1e}" for name, value in differences.items()))


if __name__ == "__main__":
    main()
