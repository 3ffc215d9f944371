from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from legorec.batch import Ranking
from legorec.metrics import per_group
from legorec.significance import compare


def pair_of_rankings(num_groups: int, gain: float, seed: int = 0) -> tuple[Ranking, Ranking]:
    """A random scorer, and the same with clicks lifted by ``gain``."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(num_groups), 10)
    label = np.tile([1, 0, 0, 1, 0, 0, 0, 0, 0, 0], num_groups)
    score = rng.standard_normal(len(group)).astype(np.float32)
    noise = rng.standard_normal(len(group)).astype(np.float32)
    return Ranking(group, label, score), Ranking(group, label, score + 0.3 * noise + np.float32(gain) * label)


@pytest.mark.parametrize(("num_groups", "gain"), [(2, 1.0), (3, 0.2), (25, 0.0), (400, 0.02), (400, 0.3)])
def test_the_t_test_equals_scipy(num_groups: int, gain: float) -> None:
    first, second = pair_of_rankings(num_groups, gain)
    found = compare(first, second, "ndcg@5", num_resamples=10)
    before, after = per_group(first, "ndcg@5")[1], per_group(second, "ndcg@5")[1]
    expected = ttest_rel(after, before)
    assert found.t == pytest.approx(expected.statistic, rel=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.difference == pytest.approx((after - before).mean()) and found.num_groups == num_groups


def test_the_bootstrap_interval_holds_the_difference_and_is_the_normal_one_for_many_groups() -> None:
    first, second = pair_of_rankings(800, 0.1)
    found = compare(first, second, "gauc")
    error = found.difference / found.t
    assert found.low == pytest.approx(found.difference - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(found.difference + 1.96 * error, abs=0.15 * error)
    assert compare(first, second, "gauc") == found
    assert compare(first, second, "gauc", seed=1) != found
    assert (
        "gauc +" in str(found) and "95% interval" in str(found) and "800 groups by impression" in str(found)
    )


def test_no_difference_at_all_and_the_same_difference_everywhere() -> None:
    first, _ = pair_of_rankings(5, 0.0)
    same = compare(first, first, "mrr")
    assert (same.t, same.p_value, same.low, same.high) == (0.0, 1.0, 0.0, 0.0)
    label = np.array([1, 0, 1, 0])
    worst, best = np.array([0.0, 1, 0, 1]), np.array([1.0, 0, 1, 0])
    flipped = compare(
        Ranking(label * 0 + [0, 0, 1, 1], label, worst), Ranking(np.array([0, 0, 1, 1]), label, best), "gauc"
    )
    assert (flipped.t, flipped.p_value, flipped.low) == (math.inf, 0.0, 1.0)


def test_what_cannot_be_compared_is_refused() -> None:
    first, second = pair_of_rankings(3, 0.1)
    fewer, _ = pair_of_rankings(2, 0.1)
    alone, _ = pair_of_rankings(1, 0.1)
    with pytest.raises(
        ValueError, match=r"same groups can be paired, got 3 by impression and 2 by impression"
    ):
        compare(first, fewer, "gauc")
    with pytest.raises(ValueError, match=r"needs at least 2 groups, got 1"):
        compare(alone, alone, "gauc")
    with pytest.raises(ValueError, match=r"`auc` is pooled"):
        compare(first, second, "auc")
    with pytest.raises(ValueError, match=r"`confidence` must lie between 0 and 1, got 95"):
        compare(first, second, "gauc", confidence=95)
    with pytest.raises(ValueError, match=r"`num_resamples` must be a whole number, 1 or more, got 0"):
        compare(first, second, "gauc", num_resamples=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_resamples": 2.5}, "`num_resamples` must be a whole number, 1 or more, got 2.5"),
        ({"num_resamples": "9"}, "`num_resamples` must be a whole number, 1 or more, got '9'"),
        ({"seed": 1.5}, "`seed` must be a whole number, 0 or more, got 1.5"),
        ({"seed": None}, "`seed` must be a whole number, 0 or more, got None"),
        ({"confidence": None}, "`confidence` must lie between 0 and 1, got None"),
        ({"confidence": "0.9"}, "`confidence` must lie between 0 and 1, got '0.9'"),
    ],
)
def test_what_is_no_number_is_told(given, message):
    first, second = pair_of_rankings(3, 0.2)
    with pytest.raises(ValueError, match=message):
        compare(first, second, "gauc", **given)
