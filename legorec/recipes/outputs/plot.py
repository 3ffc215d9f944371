"""Points over a logarithmic axis as lines of text, for a terminal of any kind."""

from __future__ import annotations

import math
from collections.abc import Sequence

LEFT = 9  # columns of the labels on the left, and the axis


def plot(
    rates: Sequence[float],
    points: Sequence[float],
    curve: Sequence[float],
    mark: float | None = None,
    width: int = 78,
    height: int = 16,
) -> list[str]:
    """``.`` are points, ``*`` a curve through them, ``|`` a marked place on the axis of rates.

    The upper end is cut where the curve goes twice as far above its start as it fell below it, so that a loss
    that explodes leaves the rest to be seen; what lies above is drawn at the edge as ``^``.

    Args:
        rates: ascending and above 0; ``points`` and ``curve`` have a value for each.
    """
    columns = width - LEFT
    first, last = math.log(rates[0]), math.log(rates[-1])
    low = min(*points, *curve)
    top = min(max(*points, *curve), curve[0] + 2 * max(curve[0] - low, 1e-9))
    spread = max(top - low, 1e-12)

    def column(rate: float) -> int:
        return round((math.log(rate) - first) / max(last - first, 1e-12) * (columns - 1))

    def row(value: float) -> int:
        return round((top - value) / spread * (height - 1))

    canvas = [[" "] * columns for _ in range(height)]
    if mark is not None and rates[0] <= mark <= rates[-1]:
        for line in canvas:
            line[column(mark)] = "|"
    for values, sign in ((points, "."), (curve, "*")):
        for rate, value in zip(rates, values, strict=True):
            if value <= top:
                canvas[row(value)][column(rate)] = sign
            elif sign == ".":
                canvas[0][column(rate)] = "^"
    labels = {0: top, height // 2: top - spread * (height // 2) / (height - 1), height - 1: low}
    said = {place: f"{value:.4g}" for place, value in labels.items()}
    lines = [f"{said.get(place, ''):>{LEFT - 2}} |{''.join(line)}" for place, line in enumerate(canvas)]
    return [line.rstrip() for line in (*lines, *_axis(rates, column, columns))]


def _axis(rates: Sequence[float], column: object, columns: int) -> list[str]:
    """The axis of rates with its decades."""
    assert callable(column)
    ticks, labels = ["-"] * columns, [" "] * (columns + 6)
    for power in range(math.ceil(math.log10(rates[0]) - 1e-9), math.floor(math.log10(rates[-1]) + 1e-9) + 1):
        place = column(min(max(10.0**power, rates[0]), rates[-1]))
        text = f"{10.0**power:.0e}"
        ticks[place] = "+"
        start = max(0, min(place - len(text) // 2, columns - len(text)))
        labels[start : start + len(text)] = text
    return [f"{'':>{LEFT - 1}}+{''.join(ticks)}", f"{'':>{LEFT}}{''.join(labels)}"]
