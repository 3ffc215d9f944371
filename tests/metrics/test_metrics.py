from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    f1_score,
    label_ranking_average_precision_score,
    log_loss,
    ndcg_score,
    roc_auc_score,
)

from legorec.batch import Ranking
from legorec.metrics import evaluate, per_group

EXACT = 1e-9
CUTS = (1, 2, 3, 5, 50)
AT_K = ("ndcg", "hit", "recall", "precision", "mrr")
RANKED = ("gauc", "mrr", "rr", "lrap", *(f"{kind}@{k}" for kind in AT_K for k in CUTS))


def ranking_of(*groups: tuple[Sequence[int], Sequence[float]], dtype: type = np.float32) -> Ranking:
    """One group per pair of labels and scores, numbered from 0."""
    return Ranking(
        group=np.repeat(np.arange(len(groups)), [len(label) for label, _ in groups]),
        label=np.concatenate([np.array(label, np.uint8) for label, _ in groups]),
        score=np.concatenate([np.array(score, dtype) for _, score in groups]),
    )


def value(name: str, label: Sequence[int], score: Sequence[float]) -> float:
    return evaluate(ranking_of((label, score)), [name])[name]


def of_order(name: str, ranked: tuple[int, ...]) -> float:
    """A metric of labels in ranked order, written as its definition reads."""
    kind, _, cut = name.partition("@")
    k, n, clicks = int(cut or 0), len(ranked), sum(ranked)
    ranks = [i + 1 for i in range(n) if ranked[i]]
    within = sum(rank <= k for rank in ranks)
    if kind == "gauc":
        pairs = [i < j for i in range(n) for j in range(n) if ranked[i] and not ranked[j]]
        return sum(pairs) / len(pairs)
    if kind == "ndcg":
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(clicks, k) + 1))
        return sum(1 / math.log2(rank + 1) for rank in ranks if rank <= k) / ideal
    return {
        "mrr": sum(1 / rank for rank in ranks if rank <= (k or n)) / clicks,
        "rr": 1 / ranks[0],
        "lrap": sum((i + 1) / rank for i, rank in enumerate(ranks)) / clicks,
        "hit": float(within > 0),
        "recall": within / clicks,
        "precision": within / k if k else 0.0,
    }[kind]


def oracle(name: str, label: np.ndarray, score: np.ndarray) -> float:
    """Mean over every way to break the ties: all placements of each block's clicks, equally likely."""
    blocks = []
    for each in sorted(set(score.tolist()), reverse=True):
        tied = label[score == each].tolist()
        places = itertools.combinations(range(len(tied)), sum(tied))
        blocks.append([[int(i in chosen) for i in range(len(tied))] for chosen in places])
    orders = [tuple(itertools.chain(*parts)) for parts in itertools.product(*blocks)]
    return math.fsum(of_order(name, order) for order in orders) / len(orders)


@st.composite
def rankings(draw: st.DrawFn, max_groups: int = 5, max_rows: int = 7) -> Ranking:
    """Short groups in any order of rows, few distinct scores (so many ties), one-class groups, infinities."""
    lengths = draw(st.lists(st.integers(1, max_rows), min_size=1, max_size=max_groups))
    names = draw(
        st.lists(st.integers(-(2**62), 2**62), min_size=len(lengths), max_size=len(lengths), unique=True)
    )
    if draw(st.booleans()):
        names = [name % 97 for name in names] if len({name % 97 for name in names}) == len(names) else names
    rows = sum(lengths)
    scores = st.sampled_from([-math.inf, -2.5, -1e-30, -0.0, 0.0, 1e-30, 1.0, 1.0000001, 3.0, math.inf])
    order = draw(st.permutations(range(rows)))
    return Ranking(
        group=np.repeat(np.array(names, np.int64), lengths)[order],
        label=np.array(draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows)), np.uint8),
        score=np.array(
            draw(st.lists(scores, min_size=rows, max_size=rows)), draw(st.sampled_from([np.float32, float]))
        ),
    )


def defined_for(name: str, label: np.ndarray) -> bool:
    return bool(label.any()) and not (name == "gauc" and label.all())


@settings(max_examples=150)
@given(rankings())
def test_r14_every_ranked_metric_equals_the_mean_over_all_tie_orders(ranking: Ranking) -> None:
    groups = [
        (g, ranking.label[ranking.group == g], ranking.score[ranking.group == g])
        for g in np.unique(ranking.group)
    ]
    for name in RANKED:
        kept = [(g, oracle(name, label, score)) for g, label, score in groups if defined_for(name, label)]
        if not kept:
            with pytest.raises(ValueError, match=f"`{name}` needs a click"):
                evaluate(ranking, [name])
            continue
        found, values = per_group(ranking, name)
        assert found.tolist() == [g for g, _ in kept] and found.dtype == ranking.group.dtype
        np.testing.assert_allclose(values, [each for _, each in kept], rtol=0, atol=EXACT)
        report = evaluate(ranking, [name])
        assert report[name] == pytest.approx(np.mean([each for _, each in kept]), abs=EXACT)
        assert report.skipped[name] == len(groups) - len(kept)


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.sampled_from([np.float32, np.float64]), st.booleans())
def test_r14_equals_scikit_learn(seed: int, dtype: type, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(2, 40))
    label = rng.integers(0, 2, rows)
    label[:2] = 0, 1
    score: np.ndarray = (rng.standard_normal(rows) * 3).astype(dtype)
    if tied:
        score = np.round(score)
    ranking = Ranking(np.zeros(rows, np.int32), label, score)
    expected = {"auc": roc_auc_score(label, score), "gauc": roc_auc_score(label, score)}
    for k in CUTS:
        expected[f"ndcg@{k}"] = ndcg_score([label], [score], k=k)
    if not tied:
        expected["lrap"] = label_ranking_average_precision_score([label], [score])
    probability = 1 / (1 + np.exp(-score.astype(np.float64)))
    expected["logloss"] = log_loss(label, probability)
    for threshold in (0.5, 0.2):
        expected[f"f1@{threshold}"] = f1_score(label, probability >= threshold)
    assert dict(evaluate(ranking, expected)) == pytest.approx(expected, abs=EXACT)


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.booleans())
def test_r14_neither_order_of_rows_nor_names_of_groups_nor_dtype_matter(seed: int, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 30, 300)
    label = (rng.random(300) < 0.3).astype(np.uint8)
    score = rng.standard_normal(300).astype(np.float32)
    score = np.round(score) if tied else score
    names = [*RANKED, "auc", "logloss", "f1@0.5"]
    expected = pytest.approx(dict(evaluate(Ranking(group, label, score), names)), abs=1e-12)
    order = rng.permutation(300)
    shuffled = Ranking(group[order], label[order], score[order])
    spread = (rng.permutation(30) * 10**17 - 10**18)[group]
    strings = np.char.add("user ", spread.astype(str))
    for other in (
        shuffled,
        Ranking(spread, label, score),
        Ranking(strings[order], label[order], score[order]),
        Ranking((group - 100).astype(np.int8), label.astype(bool), score.astype(np.float64)),
        Ranking(group.astype(np.uint64) + np.uint64(2**64 - 40), label.astype(np.float32), score),
    ):
        assert dict(evaluate(other, names)) == expected


def test_r14_random_scores_have_an_auc_of_one_half() -> None:
    rng = np.random.default_rng(0)
    group, label = np.repeat(np.arange(5000), 20), (rng.random(100_000) < 0.2).astype(np.uint8)
    report = evaluate(Ranking(group, label, rng.random(100_000, np.float32)), ["auc", "gauc"])
    assert report["auc"] == pytest.approx(0.5, abs=0.01) and report["gauc"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("constant", [0.0, -7.25, math.inf])
def test_r14_a_constant_scorer_gains_nothing(constant: float) -> None:
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 60, 500)
    group = np.repeat(np.arange(500), lengths)
    label = (rng.random(len(group)) < 0.3).astype(np.uint8)
    by_label = np.lexsort((label == 0, group))  # clicks first, as some published tables are sorted
    ranking = Ranking(group, label[by_label], np.full(len(group), constant, np.float32))
    report = evaluate(ranking, ["auc", "gauc"])
    assert report["auc"] == 0.5 and report["gauc"] == 0.5
    for k in (1, 5, 10, 100):
        groups, recall = per_group(ranking, f"recall@{k}")
        np.testing.assert_allclose(
            recall, np.minimum(k, lengths[groups]) / lengths[groups], rtol=0, atol=EXACT
        )


# Ranked: 9 click | 7 non | 4 click, 4 non, 4 non | 1 click.
HAND_LABEL, HAND_SCORE = [0, 1, 1, 0, 0, 1], [4.0, 1.0, 9.0, 7.0, 4.0, 4.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gauc", (3 + (0 + 2 / 2) + 0) / 9),
        ("auc", (3 + 1 + 0) / 9),
        ("mrr", (1 + (1 / 3 + 1 / 4 + 1 / 5) / 3 + 1 / 6) / 3),
        ("mrr@4", (1 + (1 / 3 + 1 / 4) / 3) / 3),
        ("rr", 1.0),
        ("lrap", (1 + (2 / 3 + 2 / 4 + 2 / 5) / 3 + 3 / 6) / 3),
        ("ndcg@1", 1.0),
        ("ndcg@3", (1 + 0.5 / 3) / (1 + 1 / math.log2(3) + 0.5)),
        ("hit@1", 1.0),
        ("recall@2", 1 / 3),
        ("recall@4", (1 + 2 / 3) / 3),
        ("recall@6", 1.0),
        ("precision@4", (1 + 2 / 3) / 4),
        ("precision@10", 3 / 10),
    ],
)
def test_hand_worked_group_with_a_tie(name: str, expected: float) -> None:
    assert value(name, HAND_LABEL, HAND_SCORE) == pytest.approx(expected, abs=EXACT)


def test_hand_worked_first_hit_in_a_tie() -> None:
    # One row above, then 4 tied rows with 2 clicks: the first click is 1st, 2nd or 3rd with 3/6, 2/6, 1/6.
    label, score = [0, 1, 0, 1, 0], [2, 1, 1, 1, 1]
    assert value("rr", label, score) == pytest.approx(3 / 6 / 2 + 2 / 6 / 3 + 1 / 6 / 4, abs=EXACT)
    assert [value(f"hit@{k}", label, score) for k in (1, 2, 3, 4, 9)] == pytest.approx(
        [0, 3 / 6, 5 / 6, 1, 1]
    )


def test_mrr_is_the_mean_over_all_clicks_and_rr_the_first() -> None:
    label, score = [0, 1, 1, 0], [4, 3, 2, 1]
    assert value("mrr", label, score) == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert value("rr", label, score) == 1 / 2
    assert value("lrap", label, score) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_r14_a_cut_beyond_the_group_is_the_whole_group() -> None:
    for kind in ("ndcg", "hit", "recall"):
        assert value(f"{kind}@{10**30}", HAND_LABEL, HAND_SCORE) == value(f"{kind}@6", HAND_LABEL, HAND_SCORE)


def test_r14_groups_of_one_class_are_skipped_and_counted() -> None:
    ranking = ranking_of(([0, 0], [1, 2]), ([1, 1], [1, 2]), ([1, 0], [2, 1]), ([1], [0]))
    report = evaluate(ranking, ["gauc", "mrr", "auc"])
    assert report.skipped == {"gauc": 3, "mrr": 1, "auc": 0}
    assert (report.num_groups, report.num_rows, report.num_clicks) == (4, 7, 4)
    assert report["gauc"] == 1.0 and report["mrr"] == pytest.approx((0.75 + 1 + 1) / 3)
    groups, values = per_group(ranking, "mrr")
    assert groups.tolist() == [1, 2, 3] and values.tolist() == pytest.approx([0.75, 1, 1])


def test_infinite_scores_rank_at_the_ends() -> None:
    assert value("mrr", [1, 0, 0], [math.inf, 1e38, -math.inf]) == 1.0
    assert value("mrr", [1, 0, 0], [-math.inf, -3e38, 1]) == pytest.approx(1 / 3)
    assert value("auc", [1, 0, 0], [-math.inf, -3e38, 1]) == 0.0


def test_r14_float64_scores_are_not_rounded_to_float32() -> None:
    near = ranking_of(([1, 0], [1 + 1e-12, 1.0]), dtype=np.float64)
    assert dict(evaluate(near, ["gauc", "auc"])) == {"gauc": 1.0, "auc": 1.0}


def test_zero_and_minus_zero_tie() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        ranking = ranking_of(([1, 0], [-0.0, 0.0]), dtype=dtype)
        assert dict(evaluate(ranking, ["gauc", "auc"])) == {"gauc": 0.5, "auc": 0.5}


def test_r14_large_tie_blocks_stay_exact() -> None:
    rows, clicks = 200_000, 300
    label = np.zeros(rows, np.uint8)
    label[:clicks] = 1
    ranking = Ranking(np.zeros(rows, np.int64), label, np.zeros(rows, np.float32))
    log_miss = math.fsum(math.log1p(-clicks / (rows - i)) for i in range(1000))
    report = evaluate(ranking, ["hit@1000", "rr", "recall@1000"])
    assert report["hit@1000"] == pytest.approx(1 - math.exp(log_miss), abs=EXACT)
    assert report["recall@1000"] == pytest.approx(1000 / rows, abs=EXACT)
    survival, expected = 1.0, []
    for i in range(rows - clicks + 1):
        expected.append(survival * clicks / (rows - i) / (i + 1))
        survival *= 1 - clicks / (rows - i)
    assert report["rr"] == pytest.approx(math.fsum(expected), abs=EXACT)


def test_logloss_is_stable_far_from_zero() -> None:
    assert value("logloss", [1, 0], [1000, 1000]) == pytest.approx(500)
    assert value("logloss", [1, 0], [math.inf, -math.inf]) == 0.0
    assert value("logloss", [1, 0], [-math.inf, 0]) == math.inf


def test_f1_takes_scores_at_the_threshold_for_clicks() -> None:
    assert value("f1@0.5", [1, 0, 1, 0], [0, 0, -1, -1]) == pytest.approx(0.5)
    assert value("f1@0.9", [1, 0], [-1, -1]) == 0.0
