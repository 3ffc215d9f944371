"""Metrics of parts: those of a ranking of their rows alone; what is not defined there is left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from legorec.batch import Ranking
from legorec.metrics import evaluate, per_group
from legorec.slices import Slicing, evaluate_slices, per_group_of_slices

NAMES = ["gauc", "mrr", "ndcg@2", "auc", "logloss", "f1@0.5"]


@pytest.fixture
def ranking() -> Ranking:
    """40 groups of four rows with ties, of which some have no click, some nothing else."""
    rng = np.random.default_rng(3)
    label = (rng.random(160) < rng.choice([0, 0.3, 0.6, 1], 40).repeat(4)).astype(int)
    return Ranking(np.arange(40).repeat(4), label, rng.integers(0, 5, 160).astype(np.float32))


def test_a_part_is_measured_as_if_its_rows_were_all(ranking):
    halves = Slicing("halves", {"first": np.arange(60), "second": np.arange(60, 160)})
    found = evaluate_slices(ranking, [halves], NAMES)
    for part, rows in halves.parts.items():
        alone = Ranking(ranking.group[rows], ranking.label[rows], ranking.score[rows])
        assert found["halves"][part] == evaluate(alone, NAMES)
    whole, parts = evaluate(ranking, NAMES), found["halves"].values()
    weights = [part.num_groups - part.skipped["gauc"] for part in parts]
    mean = sum(part["gauc"] * weight for part, weight in zip(parts, weights, strict=True)) / sum(weights)
    assert math.isclose(mean, whole["gauc"]), "whole groups, each in one part: the mean of all"
    assert sum(weights) == whole.num_groups - whole.skipped["gauc"]


@pytest.mark.parametrize(
    ("label", "defined"),
    [
        ([0, 0, 0, 0], {"logloss"}),
        ([1, 1, 1, 1], {"mrr", "ndcg@2", "logloss", "f1@0.5"}),
        ([1, 1, 0, 0], {"mrr", "ndcg@2", "auc", "logloss", "f1@0.5"}),
        ([1, 0, 0, 0], set(NAMES)),
    ],
)
def test_what_is_not_defined_in_a_part_is_left_out_and_all_its_groups_count_as_skipped(label, defined):
    ranking = Ranking(np.array([7, 7, 8, 8]), np.array(label), np.zeros(4, np.float32))
    cut = [Slicing("all", {"here": np.arange(4), "nowhere": np.arange(0)})]
    found = evaluate_slices(ranking, cut, NAMES)["all"]
    assert set(found["here"]) == defined
    assert found["here"].num_groups == 2
    for name in set(NAMES) - defined:
        assert found["here"].skipped[name] == 2
        with pytest.raises(ValueError):
            evaluate(ranking, [name])
    assert dict(found["nowhere"]) == {} and found["nowhere"].num_groups == 0
    assert found["nowhere"].skipped == dict.fromkeys(NAMES, 0)


def test_values_by_group_have_the_mean_of_the_part(ranking):
    cut = Slicing("odd", {"odd": np.flatnonzero(ranking.group % 2), "none": np.arange(0)})
    report = evaluate_slices(ranking, [cut], ["gauc"])["odd"]["odd"]
    found = per_group_of_slices(ranking, [cut], "gauc")
    assert list(found) == [("odd", "odd")]
    groups, values = found["odd", "odd"]
    assert math.isclose(values.mean(), report["gauc"]) and (groups % 2 == 1).all()
    whole = dict(zip(*per_group(ranking, "gauc"), strict=True))
    assert [whole[group] for group in groups] == values.tolist()


def test_scores_that_are_nan_are_refused_in_a_part_too(ranking):
    score = ranking.score.copy()
    score[5] = np.nan
    broken = Ranking(ranking.group, ranking.label, score)
    with pytest.raises(ValueError, match="scores are NaN"):
        evaluate_slices(broken, [Slicing("x", {"x": np.arange(20)})], ["gauc"])
