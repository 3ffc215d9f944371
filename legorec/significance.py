"""Whether two rankings of the same candidates differ by more than chance, from their values per group."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from legorec.metrics import parse_metric, per_group
from legorec.sequences import is_whole

if TYPE_CHECKING:
    from legorec.batch import Ranking


@dataclass(frozen=True)
class Comparison:
    """A metric of the second ranking minus that of the first."""

    metric: str
    group_by: str
    num_groups: int
    difference: float
    low: float  # bootstrap interval of the difference
    high: float
    confidence: float
    t: float
    p_value: float  # two-sided paired t-test

    def __str__(self) -> str:
        return (
            f"{self.metric} {self.difference:+.6f}, "
            f"{self.confidence:.0%} interval [{self.low:+.6f}, {self.high:+.6f}], "
            f"p = {self.p_value:.3g} (paired over {self.num_groups} groups by {self.group_by})"
        )


def compare(
    first: Ranking,
    second: Ranking,
    name: str,
    *,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 2023,
) -> Comparison:
    """Paired comparison of one ranked metric: percentile bootstrap over groups, and Student's t-test.

    Both treat groups as independent, which impressions of one user are not quite. Raises ValueError for a
    pooled metric, for rankings of different groups, and for fewer than two groups.
    """
    (groups, before), (other_groups, after) = per_group(first, name), per_group(second, name)
    if first.group_by != second.group_by or not np.array_equal(groups, other_groups):
        raise ValueError(
            f"only rankings of the same groups can be paired, got {len(groups)} by {first.group_by} and "
            f"{len(other_groups)} by {second.group_by}; rank the same split with both"
        )
    more: dict[str, Any] = {"num_resamples": num_resamples, "confidence": confidence, "seed": seed}
    return compare_values(before, after, name, first.group_by, **more)


def compare_values(
    before: np.ndarray,
    after: np.ndarray,
    name: str,
    group_by: str = "impression",
    *,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 2023,
) -> Comparison:
    """The same of a metric's values (G,) for the same groups in the same order, such as means over seeds.

    Raises:
        ValueError: there are not as many of both, or fewer than two.
    """
    if not isinstance(confidence, Real) or not 0 < confidence < 1:
        raise ValueError(f"`confidence` must lie between 0 and 1, got {confidence!r}")
    for name_of, count, least in (("num_resamples", num_resamples, 1), ("seed", seed, 0)):
        if not is_whole(count) or count < least:
            raise ValueError(f"`{name_of}` must be a whole number, {least} or more, got {count!r}")
    if before.shape != after.shape:
        raise ValueError(f"values of the same groups are paired, got {len(before)} and {len(after)}")
    if len(before) < 2:
        raise ValueError(f"a paired comparison needs at least 2 groups, got {len(before)}")
    gains = after - before
    tail = (1 - confidence) / 2
    low, high = np.quantile(_resampled_means(gains, num_resamples, seed), [tail, 1 - tail])
    t, p_value = _paired_t(gains)
    return Comparison(
        metric=parse_metric(name).name,
        group_by=group_by,
        num_groups=len(gains),
        difference=float(gains.mean()),
        low=float(low),
        high=float(high),
        confidence=confidence,
        t=t,
        p_value=p_value,
    )


def _resampled_means(gains: np.ndarray, num_resamples: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([gains[rng.integers(0, len(gains), len(gains))].mean() for _ in range(num_resamples)])


def _paired_t(gains: np.ndarray) -> tuple[float, float]:
    mean, error = float(gains.mean()), float(gains.std(ddof=1)) / math.sqrt(len(gains))
    if error == 0:  # every group gains the same
        return (math.copysign(math.inf, mean), 0.0) if mean else (0.0, 1.0)
    freedom, t = len(gains) - 1, mean / error
    return t, _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised, by its continued fraction (DLMF 8.17.22), so that a t-test does not need scipy."""
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast only below this point
        return 1.0 - _incomplete_beta(b, a, 1.0 - x)
    front = (
        math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
        / a
    )
    fraction, c, d, tiny = 1.0, 1.0, 0.0, 1e-300
    for step in range(2000):
        half = step // 2
        if step == 0:
            term = 1.0
        elif step % 2:
            term = -(a + half) * (a + b + half) * x / ((a + step - 1) * (a + step))
        else:
            term = half * (b - half) * x / ((a + step - 1) * (a + step))
        d = 1.0 / ((1.0 + term * d) or tiny)
        c = (1.0 + term / c) or tiny
        fraction *= c * d
        if step and abs(c * d - 1.0) < 1e-14:
            return front * (fraction - 1.0)
    raise AssertionError(f"the incomplete beta function did not converge at {a}, {b}, {x}")
