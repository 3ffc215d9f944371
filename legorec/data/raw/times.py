"""Times of a table in full precision: what is sorted is narrowed to seconds only when it is stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from legorec.data.raw.iso_times import EXAMPLE, is_iso, read_iso
from legorec.data.raw.lines import InputError
from legorec.data.raw.readers import LINE, BadLines, numbers_of

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# A number of seconds below this is before the year 5138; larger ones are finer units of our days.
MOST_SECONDS = 1e11
WAY_OUT = f"; times written as text are ISO 8601 in the whole column ({EXAMPLE})"
# Years whose nanoseconds fit into 64 bits.
FIRST_YEAR, LAST_YEAR = 1678, 2261


@dataclass(frozen=True)
class Times:
    """Moments of rows: int64 or float64, as fine as they are given.

    Args:
        guessed: what numbers count was told from their size.
    """

    values: np.ndarray
    per_second: int = 1
    guessed: bool = False

    @property
    def unit(self) -> str:
        """The name of what ``values`` count."""
        return next(name for name, count in UNITS.items() if count == self.per_second)


def times_of(
    frame: pl.DataFrame,
    name: str,
    label: str,
    unit: str | None = None,
    clock: str | None = None,
    way_out: str = "",
) -> Times:
    """A column of times: numbers, dates and times of Parquet, or texts in ISO 8601 or another format.

    Those without a zone are taken for UTC; with and without one do not go together.

    Args:
        unit: what numbers count, a key of ``UNITS``; without it the size of the largest shows it.
        clock: the format of texts, as in strptime.
        way_out: the end of the message about texts in another format.
    Raises:
        InputError: a value is missing or no time; with the first such line, if the frame has line numbers.
    """
    column = frame[name]
    if isinstance(column.dtype, pl.Date):
        column = column.cast(pl.Datetime("ms"))
    if not isinstance(column.dtype, pl.Datetime) and clock is not None:
        column = _parsed(column.cast(pl.String), clock)
        _refuse_nulls(frame, column, name, label, f"as '{clock}'")
    if isinstance(column.dtype, pl.Datetime):
        _refuse_nulls(frame, column, name, label, "given")
        return Times(column.to_physical().to_numpy(), UNITS[column.dtype.time_unit])
    values = _whole(column)
    if values is None and is_iso(next(iter(column.drop_nulls().head(1)), None)):
        return _iso_times(frame, name, label)
    if values is None:
        values = numbers_of(frame, name, label, WAY_OUT + way_out)
    numbers = values.to_numpy()
    return Times(numbers, UNITS[unit] if unit else _per_second(numbers), guessed=not unit)


def seconds_of(values: np.ndarray, per_second: int) -> np.ndarray:
    """Whole seconds (int64) of moments, rounded down."""
    return np.floor_divide(values, per_second).astype(np.int64)


def _whole(column: pl.Series) -> pl.Series | None:
    """Whole numbers exactly, which those of nanoseconds are not in float64; None if there are others."""
    if column.dtype.is_integer():
        return column.cast(pl.Int64, strict=False) if not column.null_count() else None
    if isinstance(column.dtype, pl.String) and column.str.contains(r"^[+-]?[0-9]{1,19}$").all():
        found = column.str.strip_prefix("+").cast(pl.Int64, strict=False)
        return None if found.null_count() else found
    return None


def _per_second(numbers: np.ndarray) -> int:
    largest = np.abs(numbers).max(initial=0)
    return next((count for count in UNITS.values() if largest < MOST_SECONDS * count), UNITS["ns"])


def _iso_times(frame: pl.DataFrame, name: str, label: str) -> Times:
    """A column whose first time is written in ISO 8601, as all must be."""
    found = read_iso(frame[name])
    zoned, seconds = found["zoned"], found["seconds"]
    _refuse_nulls(frame, seconds, name, label, f"in ISO 8601, as the first one is ({EXAMPLE})")
    way = "with a zone" if zoned[0] else "without a zone"
    _refuse_nulls(frame, seconds.set(zoned != zoned[0], None), name, label, f"{way}, as the first one is")
    parts, fraction = seconds.to_numpy(), found["nanoseconds"].to_numpy()
    if not fraction.any():
        return Times(parts)
    fits = _fit_nanoseconds(pl.from_epoch(seconds))
    unit = UNITS["ns" if fits and (fraction % 1000).any() else "us"]
    return Times(parts * unit + fraction // (UNITS["ns"] // unit), unit)


def _fit_nanoseconds(times: pl.Series) -> bool:
    """Whether the times that are given can be counted in nanoseconds."""
    return bool(times.drop_nulls().dt.year().is_between(FIRST_YEAR, LAST_YEAR).all())


def _parsed(texts: pl.Series, clock: str) -> pl.Series:
    found = texts.str.to_datetime(clock, strict=False, time_unit="us").dt.replace_time_zone(None)
    if _fit_nanoseconds(found) and texts.str.contains(r"\.[0-9]{7}").any():  # finer than microseconds
        return texts.str.to_datetime(clock, strict=False, time_unit="ns").dt.replace_time_zone(None)
    return found


def _refuse_nulls(frame: pl.DataFrame, column: pl.Series, name: str, label: str, rule: str) -> None:
    wrong = frame.filter(column.is_null())
    if len(wrong):
        rule = f"{name} must be a time {rule}, got {wrong[name][0]!r}"
        if LINE in frame.columns:
            bad = BadLines(label)
            bad.add(wrong[LINE], rule)
            bad.raise_any()
        row = int(column.is_null().arg_max() or 0) + 1
        raise InputError(f"{label}: row {row:,}: {rule}; {len(wrong):,} of {len(frame):,} are not")
