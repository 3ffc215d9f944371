"""Large files of lines, gzip or plain: columns by patterns, objects one at a time, and ids as Categorical."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import polars as pl

from legorec.data.raw.readers import LINE, BadLines, InputError, RawFile, blocks, raw_file

# A key of a JSON line and its text or number: within a text every quote is escaped, so no key stands there.
PAIR = r'"%s"\s*:\s*(?:"([^"\\]*)"|(-?\d[\d.eE+-]*))'


def unpacked(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file, gzip or plain, in blocks, with the number of each block's first line.

    Raises:
        InputError: there is no such file, it is damaged or it is no text.
    """
    file = raw_file(path)
    with file.open() as stream:
        if stream.read(2) == b"\x1f\x8b":
            file = RawFile(str(path), lambda: cast(IO[bytes], gzip.open(path)))
    try:
        yield from blocks(file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise InputError(f"{path}: damaged or cut short ({problem}); fetch it again") from None


def json_columns(path: Path, *keys: str) -> Iterator[pl.DataFrame]:
    """Some keys of JSON lines, as texts, block by block; no line becomes a Python object."""
    return extracted(path, {key: PAIR % key for key in keys}, "}")


def extracted(
    path: Path, patterns: dict[str, str], end: str = "", skip_lines: int = 0
) -> Iterator[pl.DataFrame]:
    """Columns of texts, each by its pattern, and the line number (``LINE``); blank lines are passed over.

    Args:
        patterns: with two groups each; the second counts where the first is not there.
        end: what every line must end in.
    Raises:
        InputError: a line lacks a column or its end.
    """
    bad = BadLines(str(path))
    for number, text in unpacked(path):
        lines = pl.Series("line", [text]).str.split("\n").explode().str.strip_chars()
        frame = lines.to_frame().with_row_index(LINE, number)
        frame = frame.filter((pl.col("line") != "") & (pl.col(LINE) > skip_lines))
        line = pl.col("line").str
        found = {key: line.extract(one, 1).fill_null(line.extract(one, 2)) for key, one in patterns.items()}
        part = frame.select(pl.col(LINE).cast(pl.Int64), **found)
        wrong = part.filter(pl.any_horizontal(pl.all().is_null()) | ~frame["line"].str.ends_with(end))
        bad.add(wrong[LINE], f"it must hold {', '.join(patterns)}")
        if not bad.count:
            yield part
    bad.raise_any()


def records(path: Path, parse: Callable[[str], dict[str, Any] | None], rule: str) -> Iterator[dict[str, Any]]:
    """The objects of a file, one of each line, one at a time; blank lines and empty objects are passed over.

    Args:
        parse: the object of a line; None where the line breaks the rule.
        rule: what the error says of such lines.
    Raises:
        InputError: a line breaks the rule.
    """
    bad = BadLines(str(path))
    for number, text in unpacked(path):
        for place, line in enumerate(text.split("\n"), number):
            if not (line := line.strip()):
                continue
            if (found := parse(line)) is None:
                bad.add(pl.Series([place]), rule)
            elif found:
                yield found
    bad.raise_any()


def places(column: pl.Series, among: pl.Series) -> np.ndarray:
    """Where each Categorical value stands among some of them; -1 where it is none of these."""
    codes, own = column.to_physical().to_numpy(), among.to_physical().to_numpy()
    table = np.full(max(codes.max(initial=0), own.max(initial=0)) + 1, -1)
    table[own] = np.arange(len(own))
    return table[codes]


def by_name(values: pl.Series) -> pl.Series:
    """Distinct Categorical values by their names: the order of codes depends on what was read before."""
    distinct = values.unique()
    return distinct.gather(distinct.cast(pl.String).arg_sort())
