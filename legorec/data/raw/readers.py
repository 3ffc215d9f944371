"""Reading rows of lines, and checking what a table holds.

A malformed line is never dropped: reading goes on to count such lines, then stops with an error that names
the file, the first line number and the count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from legorec.data.layout import nearest
from legorec.data.raw.lines import InputError, RawFile, blocks

LINE = "#line"  # the column of line numbers


class BadLines:
    """Collects malformed lines of a file."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.count = 0
        self._first: tuple[int, str] | None = None

    def add(self, numbers: pl.Series, rule: str) -> None:
        """Note lines (numbered from 1) that break a rule."""
        if len(numbers):
            self.count += len(numbers)
            self._first = min(self._first or (int(numbers[0]), rule), (int(numbers[0]), rule))

    def raise_any(self) -> None:
        """Raise an error if there were any."""
        if self._first is not None:
            number, rule = self._first
            lines = "malformed line" if self.count == 1 else "malformed lines"
            raise InputError(f"{self.label}: line {number}: {rule}; {self.count:,} {lines} in all")


def read_rows(
    file: RawFile,
    columns: Sequence[str],
    separator: str = "\t",
    encoding: str = "utf-8",
    more_columns: bool = False,
    skip_lines: int = 0,
) -> Iterator[pl.DataFrame]:
    """Frames of String columns and the line number (``LINE``); no quoting; blank lines are skipped.

    Args:
        more_columns: a line may have further columns after the named ones.
    """
    bad = BadLines(file.label)
    wanted = len(columns)
    for number, text in blocks(file, encoding):
        lines = pl.Series("text", [text]).str.split("\n").explode()
        frame = pl.DataFrame({"text": lines.str.strip_suffix("\r"), LINE: _numbers(number, len(lines))})
        frame = frame.filter((pl.col("text") != "") & (pl.col(LINE) > skip_lines))
        found = frame["text"].str.count_matches(separator, literal=True) + 1
        wrong = frame.filter(found < wanted if more_columns else found != wanted)
        if len(wrong):
            first = wrong["text"].str.count_matches(separator, literal=True)[0] + 1
            bad.add(wrong[LINE], wrong_count(wanted, first, more_columns))
        if bad.count or not len(frame):
            continue  # after a bad line the result is not used: only count the rest
        parts = frame["text"].str.split_exact(separator, wanted).struct.unnest()
        parts = parts.select(pl.nth(place).alias(name) for place, name in enumerate(columns))
        yield parts.with_columns(frame[LINE])
    bad.raise_any()


def wrong_count(wanted: int, found: int, more_columns: bool = False) -> str:
    """The rule that a row with too few or too many columns breaks."""
    return f"it must have {'at least ' if more_columns else ''}{wanted} columns, got {found}"


def read_frame(file: RawFile, columns: Sequence[str], separator: str = "\t", **how: object) -> pl.DataFrame:
    """All frames of ``read_rows`` as one."""
    return as_one(read_rows(file, columns, separator, **how), columns)  # type: ignore[arg-type]


def as_one(frames: Iterable[pl.DataFrame], columns: Sequence[str]) -> pl.DataFrame:
    """Frames of String columns and ``LINE``, perhaps none, as one."""
    empty = pl.DataFrame(schema=dict.fromkeys(columns, pl.String) | {LINE: pl.Int64})
    return pl.concat([empty, *frames])


def first_line(file: RawFile, encoding: str = "utf-8") -> str:
    """The first line of a file, without its end."""
    _, text = next(blocks(file, encoding), (1, ""))
    return text.partition("\n")[0].rstrip("\r")


def need_columns(frame: pl.DataFrame, names: Sequence[str], label: str, way_out: str = "") -> None:
    """Refuse a table that lacks a column, naming the nearest one; ``way_out`` ends the message."""
    known = [name for name in frame.columns if name != LINE]
    for name in names:
        if name not in known:
            raise InputError(f"{label}: there is no column '{name}'; {nearest(name, known)}{way_out}")


def numbers_of(
    frame: pl.DataFrame, name: str, label: str, way_out: str = "", or_empty: bool = False
) -> pl.Series:
    """A column as float64.

    Args:
        way_out: the end of the message.
        or_empty: values may be missing, and are null then; the others must be finite as float32.
    Raises:
        InputError: a value is not a number; with the first such line, if the frame has line numbers.
    """
    column = frame[name]
    if column.dtype.is_nested():
        raise InputError(f"{label}: column '{name}' must hold numbers, it holds {kind_of(column.dtype)}")
    values = column.cast(pl.Float64, strict=False)
    if or_empty:
        given = column.is_not_null() & (column.cast(pl.String).str.strip_chars() != "")
        is_wrong = given & (values.is_null() | values.cast(pl.Float32).is_infinite())
    else:
        is_wrong = values.is_null() | ~values.is_finite()
    wrong = frame.filter(is_wrong)
    if len(wrong):
        if LINE in frame.columns:
            bad = BadLines(label)
            what = "a number or empty" if or_empty else "a number"
            bad.add(wrong[LINE], f"{name} must be {what}, got {wrong[name][0]!r}{way_out}")
            bad.raise_any()
        raise InputError(
            f"{label}: column '{name}' must hold numbers: {len(wrong):,} of {len(frame):,} values are none, "
            f"e.g. {wrong[name][0]!r} in row {int(is_wrong.arg_max() or 0) + 1:,}{way_out}"
        )
    return values


def kind_of(dtype: pl.DataType) -> str:
    """What a column holds, in words."""
    if isinstance(dtype, pl.List | pl.Array):
        inner = "lists" if dtype.inner.is_nested() and not isinstance(dtype.inner, pl.Struct) else "objects"
        return f"lists of {inner}" if dtype.inner.is_nested() else "lists"
    return "objects" if isinstance(dtype, pl.Struct) else str(dtype)


def _numbers(first: int, count: int) -> pl.Series:
    return pl.int_range(first, first + count, dtype=pl.Int64, eager=True)
