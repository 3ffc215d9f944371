from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from legorec.batch import Ranking
from legorec.metrics import evaluate, parse_metric, parse_sum, per_group
from legorec.significance import compare
from tests.support.labelled import Labelled


def ranking_of(label: list[int], score: list[float], group: list[int] | None = None) -> Ranking:
    return Ranking(np.array(group or [0] * len(label)), np.array(label), np.array(score, np.float32))


@pytest.mark.parametrize(
    ("asked", "name", "kind", "cut"),
    [
        ("GAUC", "gauc", "gauc", 0),
        ("nDCG@10", "ndcg@10", "ndcg", 10),
        ("F1@.50", "f1@0.5", "f1", 0.5),
        ("hit@1", "hit@1", "hit", 1),
    ],
)
def test_parse_metric(asked: str, name: str, kind: str, cut: float) -> None:
    metric = parse_metric(asked)
    assert (metric.name, metric.kind, metric.cut) == (name, kind, cut)
    assert parse_metric(metric.name) == metric
    assert metric.is_pooled == (kind == "f1") and metric.higher_is_better
    assert not parse_metric("LogLoss").higher_is_better


def test_a_sum_names_each_of_its_metrics_once() -> None:
    assert [each.name for each in parse_sum("Recall@3+ nDCG@10 ")] == ["recall@3", "ndcg@10"]
    assert parse_sum("gauc") == [parse_metric("gauc")]
    for name, message in (
        ("gauc + GAUC", "each metric once"),
        ("gauc + logloss", "lower is better have no sum"),
        ("gauc +", "unknown metric ''"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_sum(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "ndgc@10",
            r"unknown metric 'ndgc@10'; the nearest is 'ndcg@10'; known are gauc, mrr, .*ndcg@k.*, f1@t",
        ),
        ("MRR0", r"unknown metric 'MRR0'; the nearest is 'rr'; known are"),
        ("HitRatio@5", r"the nearest is 'hit@5'"),
        ("xyzw", r"unknown metric 'xyzw'; known are"),
        ("", r"unknown metric ''"),
        ("auc@5", r"`auc` takes no number, got 'auc@5'; write 'auc'"),
        ("ndcg", r"`ndcg` takes a whole number k >= 1, as in 'ndcg@10', got 'ndcg'"),
        ("ndcg@0", r"`ndcg` takes a whole number k >= 1"),
        ("hit@1.5", r"`hit` takes a whole number k >= 1"),
        ("recall@ 5", r"`recall` takes a whole number k >= 1"),
        ("precision@-1", r"`precision` takes a whole number k >= 1"),
        ("f1", r"`f1` takes a threshold between 0 and 1, as in 'f1@0.5', got 'f1'"),
        ("f1@0.0", r"`f1` takes a threshold between 0 and 1"),
        ("f1@1", r"`f1` takes a threshold between 0 and 1"),
    ],
)
def test_a_wrong_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_metric(name)


@pytest.mark.parametrize(
    ("ranking", "name", "message"),
    [
        (ranking_of([], []), "gauc", r"the ranking is empty"),
        (
            ranking_of([1, 0, 0], [math.nan, 1, math.nan]),
            "gauc",
            r"2 of 3 scores are NaN and cannot be ranked",
        ),
        (ranking_of([1, 2, 3], [1, 2, 3]), "gauc", r"labels must be 0 or 1, got 2 others, the first is 2"),
        (
            Ranking(*np.ones((3, 2), np.int64)),
            "gauc",
            r"`score` must be float32 or float64, got int64",
        ),
        (
            Ranking(*np.zeros((3, 2, 2))),
            "gauc",
            r"a ranking is flat, got shapes \(2, 2\), \(2, 2\) and \(2, 2\)",
        ),
        (
            ranking_of([1, 0], [1, 1], [0, 1]),
            "gauc",
            r"`gauc` needs a click and a non-click in at least one impression",
        ),
        (ranking_of([0, 0], [1, 1], [0, 1]), "mrr", r"`mrr` needs a click in .* and none of 2 has that"),
        (ranking_of([1, 1], [1, 2]), "auc", r"`auc` needs clicks and non-clicks, got 2 and 0"),
        (ranking_of([0, 0], [1, 2]), "f1@0.5", r"`f1` needs at least one click, got none"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(ranking: Ranking, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(ranking, [name])


def test_a_pooled_metric_has_no_values_per_group() -> None:
    with pytest.raises(
        ValueError, match=r"`auc` is pooled over all rows and has no values per group; gauc, mrr"
    ):
        per_group(ranking_of([1, 0], [2, 1]), "auc")


def test_a_report_says_what_each_figure_is_over() -> None:
    group, label, score = np.array([5, 5, 6]), np.array([1, 0, 0]), np.array([2.0, 1.0, 0.0])
    report = evaluate(Ranking(group, label, score, group_by="user"), ["GAUC", "auc"])
    assert dict(report) == {"gauc": 1.0, "auc": 1.0} and len(report) == 2
    lines = str(report).splitlines()
    assert lines[0].split(maxsplit=2) == ["gauc", "1.000000", "mean by user: 1 groups, 1 skipped"]
    assert lines[1].split(maxsplit=2) == ["auc", "1.000000", "over all 3 rows"]


def test_the_share_of_ties_is_that_of_rows_that_another_of_their_group_equals() -> None:
    group, label = np.array([0, 0, 0, 1, 1, 2, 2, 2]), np.array([1, 0, 0, 1, 0, 0, 0, 0])
    for score, share in (
        ([1, 1, 2, 1, 3, 4, 4, 4], 5 / 8),  # equal scores of two groups are none
        ([1, 2, 3, 1, 2, 1, 2, 3], 0.0),
        ([5, 5, 5, 5, 5, 5, 5, 5], 1.0),
        ([0.0, -0.0, 1, 2, 3, 4, 5, 6], 2 / 8),
    ):
        for dtype in (np.float32, np.float64):
            assert evaluate(Ranking(group, label, np.array(score, dtype)), ["gauc"]).ties == share


def test_the_ranking_is_left_as_it_was() -> None:
    ranking = ranking_of([1, 0], [2, 1])
    before = [part.copy() for part in (ranking.group, ranking.label, ranking.score)]
    for part in (ranking.group, ranking.label, ranking.score):
        part.flags.writeable = False
    evaluate(ranking, ["gauc", "mrr", "rr", "lrap", "ndcg@1", "hit@1", "auc", "logloss", "f1@0.5"])
    for part, copy in zip((ranking.group, ranking.label, ranking.score), before, strict=True):
        np.testing.assert_array_equal(part, copy)


def test_metrics_load_neither_torch_nor_transformers_nor_yaml() -> None:
    heavy = "{'torch', 'transformers', 'yaml'}"
    code = f"import sys, legorec.metrics, legorec.significance; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


RANKING = Ranking([0, 0, 1, 1], [1, 0, 0, 1], [0.9, 0.1, 0.8, 0.3])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gauc", "`names` must be a list of metrics, got the text 'gauc'"),
        ({"gauc"}, "`names` must be a list of metrics in an order, got a set"),
        (None, "`names` must be a list of metrics, got None"),
        ([3], "a metric is named by a text, as in 'gauc', got 3"),
    ],
)
def test_names_are_a_list_of_texts(given, message):
    with pytest.raises(ValueError, match=message):
        evaluate(RANKING, given)
    column = Labelled(["mrr", "gauc"], [1, 0])
    assert list(evaluate(RANKING, column)) == ["mrr", "gauc"]  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [None, [0.1, 0.2], {"group": [1]}, 3])
def test_what_is_no_ranking_is_told(given):
    asked = (evaluate, lambda each: per_group(each, "gauc"), lambda each: compare(RANKING, each, "mrr"))
    for ask in asked:
        with pytest.raises(ValueError, match="a Ranking of groups, labels and scores is wanted, got a "):
            ask(given)


@pytest.mark.parametrize(
    "group", [[None] * 4, [1, None, 2, 2], np.array([1, "a", 1, "a"], object), [0.0, float("nan"), 1.0, 1.0]]
)
def test_a_row_without_a_group_is_named(group):
    ranking = Ranking(group, [1, 0, 0, 1], [0.9, 0.1, 0.8, 0.3])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`group` must be numbers or texts throughout, row [01] has "):
        evaluate(ranking)
