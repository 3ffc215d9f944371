"""A sweep's rates, where it stops, and what it suggests of losses whose shape is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from legorec.engine.sweep import CUT, Sweep

BEST = 3e-2


def valley(rate: float) -> float:
    """A loss that begins at 1.6, is lowest at ``BEST`` and then rises without bound."""
    return 1.6 - 0.4 / (1 + (BEST / 10 / rate)) + 0.2 * (rate / BEST) ** 2


def swept(loss: Callable[[float], float], noise: float = 0.0, seed: int = 0, steps: int = 120) -> Sweep:
    """A sweep over 1e-5 to 1 until it is done."""
    sweep, rng = Sweep(1e-5, 1.0, steps), np.random.default_rng(seed)
    while not sweep.done:
        sweep.add(loss(sweep.rate(len(sweep.losses))) + noise * rng.standard_normal())
    return sweep


def lowest(loss: Callable[[float], float]) -> float:
    """The rate with the lowest loss, on a fine grid."""
    rates = np.geomspace(1e-5, 1, 2000)
    return float(rates[np.argmin([loss(rate) for rate in rates])])


def test_each_rate_is_the_same_factor_above_the_one_before() -> None:
    rates = [Sweep(1e-5, 1.0, 101).rate(step) for step in range(101)]
    assert (
        rates[0] == pytest.approx(1e-5) and rates[-1] == pytest.approx(1) and rates[20] == pytest.approx(1e-4)
    )
    assert np.diff(np.log(rates)) == pytest.approx(math.log(1e5) / 100)


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_the_suggestion_is_a_third_of_the_rate_with_the_lowest_loss(noise: float) -> None:
    found = [swept(valley, noise, seed).found().rate for seed in range(20)]
    assert all(rate is not None for rate in found)
    away = np.log(np.array(found, dtype=float) * CUT / lowest(valley))
    assert abs(away.mean()) < math.log(1.5) and abs(away).max() < math.log(3)


def test_a_sweep_ends_where_the_loss_is_twice_its_start() -> None:
    sweep = swept(valley)
    assert sweep.diverged and len(sweep.losses) < sweep.steps
    assert valley(sweep.rates[-1]) > 3.2 > valley(sweep.rates[-6])


def test_a_loss_that_is_no_number_ends_it_and_is_not_kept() -> None:
    sweep = swept(lambda rate: math.nan if rate > 0.1 else valley(min(rate, BEST)))
    assert sweep.diverged and sweep.done and all(map(math.isfinite, sweep.losses))
    assert sweep.rates[-1] <= 0.1 and sweep.found().rate is not None


@pytest.mark.parametrize("loss", [lambda rate: 1.6, lambda rate: 1.6 + rate, lambda rate: 1.6 - 1e-3 * rate])
@pytest.mark.parametrize("noise", [0.02, 0.2])
def test_where_the_loss_never_falls_nothing_is_suggested(
    loss: Callable[[float], float], noise: float
) -> None:
    """Noise alone looks like a fall in few of many sweeps."""
    found = [swept(loss, noise, seed).found() for seed in range(100)]
    assert sum(each.rate is not None for each in found) <= 3
    assert any("never fell below its start (1.6" in each.why for each in found)


def test_a_loss_that_explodes_at_once_has_no_rate_and_a_way_out() -> None:
    sweep = Sweep(1e-5, 1.0, 120)
    sweep.add(1.6)
    sweep.add(math.inf)
    found = sweep.found()
    assert found.rate is None and "not a number after 1 steps; lower --lowest" in found.why


def test_a_loss_that_still_falls_at_the_end_says_so() -> None:
    found = swept(lambda rate: 1.6 - 0.5 * rate, 0.01).found()
    assert (
        found.rate == pytest.approx(1 / CUT, rel=0.5) and "a higher --highest may suggest more" in found.why
    )


def test_smoothing_keeps_a_level_and_a_slope() -> None:
    sweep = Sweep(1e-5, 1.0, 100, losses=[2.0] * 100)
    assert sweep.smoothed() == pytest.approx([2.0] * 100)
    sweep = Sweep(1e-5, 1.0, 100, losses=[2 - 0.01 * step for step in range(100)])
    assert sweep.smoothed()[30:70] == pytest.approx(sweep.losses[30:70], abs=1e-4)


def test_a_loss_below_zero_has_not_diverged() -> None:
    sweep = swept(lambda rate: -1.0 - min(rate, 0.5))
    assert not sweep.diverged and len(sweep.losses) == sweep.steps
