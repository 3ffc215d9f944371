"""Large files of JSON lines: some keys as columns, objects one at a time, and ids as Categorical."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from legorec.data.raw.lines import unpacked
from legorec.data.raw.readers import LINE, BadLines


def json_columns(path: Path, *keys: str) -> Iterator[pl.DataFrame]:
    """Some keys of JSON lines, as texts, block by block, with the line number (``LINE``).

    Blank lines are skipped. A block without a wrong line is read without Python objects.

    Raises:
        InputError: a line is not an object with a text or a number for each key.
    """
    bad = BadLines(str(path))
    for number, text in unpacked(path):
        lines = pl.Series("line", [text]).str.split("\n").explode().str.strip_chars()
        frame = lines.to_frame().with_row_index(LINE, number).cast({LINE: pl.Int64})
        frame = frame.filter(pl.col("line") != "")
        part = pl.concat([frame.select(LINE), _values(frame["line"], keys)], how="horizontal")
        bad.add(part.filter(pl.any_horizontal(pl.all().is_null()))[LINE], f"it must hold {', '.join(keys)}")
        if not bad.count:
            yield part
    bad.raise_any()


def _values(lines: pl.Series, keys: Sequence[str]) -> pl.DataFrame:
    """The texts of some keys of JSON lines; null where a line is wrong."""
    types = dict.fromkeys(keys, pl.String)
    try:
        found = lines.str.json_decode(pl.Struct(types))
        # It reads lines joined together: a torn line may continue in the next, and one may hold two objects.
        if len(found) == len(lines) and lines.str.contains(r"(?s)^\{.*\}$").all():
            return found.struct.unnest()
    except pl.exceptions.ComputeError:
        pass  # the error does not say which line is wrong
    return pl.DataFrame([_texts(line, keys) for line in lines], types, orient="row")


def _texts(line: str, keys: Sequence[str]) -> list[str | None]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    values = [found.get(key) for key in keys] if isinstance(found, dict) else [None] * len(keys)
    return [str(each) if type(each) in (str, int, float) else None for each in values]


def records(path: Path, parse: Callable[[str], dict[str, Any] | None], rule: str) -> Iterator[dict[str, Any]]:
    """The objects of a file, one per line, one at a time; blank lines and empty objects are skipped.

    Args:
        parse: returns the object of a line, or None if the line breaks the rule.
        rule: the error's words for such lines.
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
    """The place of each Categorical value among given ones; -1 if it is none of them."""
    codes, own = column.to_physical().to_numpy(), among.to_physical().to_numpy()
    table = np.full(max(codes.max(initial=0), own.max(initial=0)) + 1, -1)
    table[own] = np.arange(len(own))
    return table[codes]


def by_name(values: pl.Series) -> pl.Series:
    """Distinct Categorical values, sorted by name: the order of codes depends on what was read before."""
    distinct = values.unique()
    return distinct.gather(distinct.cast(pl.String).arg_sort())
