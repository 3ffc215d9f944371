"""A plot in text: where its points, its mark and its labels stand."""

from __future__ import annotations

import numpy as np
import pytest

from legorec.recipes.outputs.plot import LEFT, plot

RATES = np.geomspace(1e-5, 1, 101).tolist()
FALLING = np.linspace(2, 1, 101).tolist()


def columns_of(sign: str, lines: list[str]) -> set[int]:
    """Where a sign stands in the field of the plot."""
    return {place for line in lines for place, each in enumerate(line[LEFT:]) if each == sign}


@pytest.mark.parametrize("width", [40, 78])
@pytest.mark.parametrize("top", [2.0, 1e6])
def test_it_is_as_wide_and_high_as_asked(width: int, top: float) -> None:
    values = [*FALLING[:-1], top]
    lines = plot(RATES, values, values, 1e-3, width=width, height=12)
    assert len(lines) == 14 and max(map(len, lines)) <= width
    assert all(line[LEFT - 1] in "|+" for line in lines[:-1])


def test_a_line_runs_from_corner_to_corner() -> None:
    lines = plot(RATES, FALLING, FALLING, width=LEFT + 51, height=11)
    assert lines[0][LEFT] == "*" and lines[10][LEFT + 50] == "*"
    assert columns_of("*", lines) == set(range(51))
    assert lines[0].startswith("      2 |") and lines[5].startswith("    1.5 |")
    assert lines[10].startswith("      1 |")


def test_decades_and_the_mark_stand_at_their_rates() -> None:
    lines = plot(RATES, FALLING, FALLING, 1e-2, width=LEFT + 51, height=11)
    assert columns_of("+", [lines[-2]]) == {0, 10, 20, 30, 40, 50}
    assert columns_of("|", lines[:-2]) == {30}
    assert lines[-1].split() == ["1e-05", "1e-04", "1e-03", "1e-02", "1e-01", "1e+00"]
    assert columns_of("|", plot(RATES, FALLING, FALLING, None)[:-2]) == set()


def test_a_loss_that_explodes_leaves_the_rest_to_be_seen() -> None:
    """The curve above is cut at the edge, and the fall below takes a third of the height at least."""
    values = [*np.linspace(2, 1, 80), *np.geomspace(1, 1e5, 21)]
    lines = plot(RATES, values, values, height=16)
    assert "^" in lines[0] and lines[0].startswith("      4 |")
    used = [place for place, line in enumerate(lines[:16]) if "*" in line[LEFT:]]
    assert used[-1] == 15 and len(used) > 6


def test_a_level_loss_is_drawn_too() -> None:
    assert any("*" in line for line in plot(RATES, [1.6] * 101, [1.6] * 101))
