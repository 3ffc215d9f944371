"""Reading tables: rows of lines, CSV, TSV, JSONL and Parquet.

A malformed line is never dropped: reading goes on to count such lines, then stops with an error that names
the file, the first line number and the count.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from legorec.data.layout import nearest
from legorec.data.raw.lines import InputError, RawFile, blocks, raw_file

LINE = "#line"  # the column of line numbers
SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


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
            least = "at least " if more_columns else ""
            bad.add(wrong[LINE], f"it must have {least}{wanted} columns, got {first}")
        if bad.count or not len(frame):
            continue  # after a bad line the result is not used: only count the rest
        parts = frame["text"].str.split_exact(separator, wanted).struct.unnest()
        parts = parts.select(pl.nth(place).alias(name) for place, name in enumerate(columns))
        yield parts.with_columns(frame[LINE])
    bad.raise_any()


def read_frame(file: RawFile, columns: Sequence[str], separator: str = "\t", **how: object) -> pl.DataFrame:
    """All frames of ``read_rows`` as one."""
    frames = list(read_rows(file, columns, separator, **how))  # type: ignore[arg-type]
    empty = pl.DataFrame(schema={name: pl.String for name in columns} | {LINE: pl.Int64})
    return pl.concat([empty, *frames])


def first_line(file: RawFile, encoding: str = "utf-8") -> str:
    """The first line of a file, without its end."""
    with file.open() as stream:
        return stream.readline().removeprefix(b"\xef\xbb\xbf").decode(encoding).rstrip("\r\n")


def read_table(path: Path, header: bool = True, separator: str | None = None) -> pl.DataFrame:
    """A table in CSV, TSV, JSONL or Parquet, by the ending of its name.

    Delimited files give String columns and ``LINE``; without a header the columns are called 1, 2, 3 and so
    on. In CSV a value may be quoted with ``"``; in TSV a quote is an ordinary character.

    Raises:
        InputError: the file is missing or malformed, or its format is unknown.
    """
    file, ending = raw_file(path), path.suffix.lower()
    if ending == ".parquet":
        try:
            return pl.read_parquet(path)
        except Exception as problem:  # polars has many exceptions for this
            raise InputError(f"{path}: not a readable Parquet file ({problem})") from None
    if ending in (".jsonl", ".ndjson"):
        return _read_jsonl(path)
    separator = separator or SEPARATORS.get(ending)
    if separator is None:
        raise InputError(
            f"{path}: give --separator, or a file ending in .csv, .tsv, .txt, .jsonl or .parquet"
        )
    if separator == "," and any('"' in text for _, text in blocks(file)):
        return _read_quoted(file, header)
    line = first_line(file)
    if not line:
        raise InputError(f"{path}: its first line is empty")
    cells = line.split(separator)
    names = _header(file, cells) if header else [str(place + 1) for place in range(len(cells))]
    return read_frame(file, names, separator, skip_lines=int(header))


def _header(file: RawFile, cells: list[str]) -> list[str]:
    if len(set(cells)) != len(cells):
        raise InputError(f"{file.label}: a column name occurs twice in the first line")
    return cells


def _read_quoted(file: RawFile, header: bool) -> pl.DataFrame:
    bad = BadLines(file.label)
    names: list[str] = []
    frames, rows = [], []
    with file.open() as stream, io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
        lines = csv.reader(text, strict=True)
        try:
            for row in lines:
                if not row:
                    continue
                if not names:
                    names = _header(file, row) if header else [str(place + 1) for place in range(len(row))]
                    if header:
                        continue
                if len(row) != len(names):
                    rule = f"it must have {len(names)} columns, got {len(row)}"
                    bad.add(pl.Series([lines.line_num]), rule)
                elif not bad.count:
                    rows.append([*row, lines.line_num])
                if len(rows) == 100_000:
                    frames.append(_strings(rows, names))
                    rows = []
        except (csv.Error, UnicodeDecodeError) as problem:
            raise InputError(f"{file.label}: line {lines.line_num}: {problem}") from None
    bad.raise_any()
    return pl.concat([*frames, _strings(rows, names)])


def _strings(rows: list[list], names: list[str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String) | {LINE: pl.Int64}, orient="row")


def _read_jsonl(path: Path) -> pl.DataFrame:
    try:
        return pl.read_ndjson(path, infer_schema_length=None)
    except Exception:  # polars has many exceptions for this, and none names the line
        bad = BadLines(str(path))
        with open(path, "rb") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    right = not line.strip() or isinstance(json.loads(line), dict)
                except ValueError:
                    right = False
                if not right:
                    bad.add(pl.Series([number]), "it must be a JSON object")
        bad.raise_any()
        raise InputError(f"{path}: the lines differ in the types of their values") from None


def need_columns(frame: pl.DataFrame, names: Sequence[str], label: str) -> None:
    """Refuse a table that lacks a column, naming the nearest one."""
    known = [name for name in frame.columns if name != LINE]
    for name in names:
        if name not in known:
            raise InputError(f"{label}: there is no column '{name}'; {nearest(name, known)}")


def numbers_of(frame: pl.DataFrame, name: str, label: str) -> pl.Series:
    """A column as float64.

    Raises:
        InputError: a value is not a number; with the first such line, if the frame has line numbers.
    """
    values = frame[name].cast(pl.Float64, strict=False)
    wrong = frame.filter(values.is_null() | ~values.is_finite())
    if len(wrong):
        if LINE in frame.columns:
            bad = BadLines(label)
            bad.add(wrong[LINE], f"{name} must be a number, got {wrong[name][0]!r}")
            bad.raise_any()
        raise InputError(
            f"{label}: column '{name}' must hold numbers; {len(wrong):,} of {len(frame):,} values are none, "
            f"e.g. {wrong[name][0]!r}"
        )
    return values


def _numbers(first: int, count: int) -> pl.Series:
    return pl.int_range(first, first + count, dtype=pl.Int64, eager=True)
