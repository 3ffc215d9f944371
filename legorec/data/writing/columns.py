"""The columns of a frame as fields of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

from legorec.data.layout import StoreError, check_name, nearest
from legorec.data.ragged import Ragged
from legorec.data.store import rows_of


@dataclass(frozen=True)
class Column:
    """One column of a frame that becomes a field.

    Args:
        name: of the field.
        kind: ``text`` (String), ``category`` (String; "" or null is missing), ``categories`` (list of
            String), ``number``.
        source: column of the frame; the field's name by default.
        vocabulary: fields of one table with the same vocabulary share their ids; the field's name by default.
        tokens: ids (int32) of an already tokenized text, by the name of the tokenizer; no others are made.
    """

    name: str
    kind: Literal["text", "category", "categories", "number"]
    source: str | None = None
    vocabulary: str | None = None
    tokens: Mapping[str, Ragged] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if "@" in check_name(self.name, "field"):
            raise StoreError(f"field '{self.name}' may not hold '@', which comes before the tokenization")
        check_name(self.vocabulary or self.name, "vocabulary")
        if (plain := self.name.casefold()) in ("ids", "visible") or plain.endswith(".text"):
            raise StoreError(f"field '{self.name}': the name is taken by a file of the store")

    def of(self, frame: pl.DataFrame) -> pl.Series:
        """The column of a frame."""
        return column_of(frame, self.source or self.name)


def column_of(frame: pl.DataFrame, name: str) -> pl.Series:
    """A column by name.

    Raises:
        StoreError: there is none, with the nearest name.
    """
    if name not in frame.columns:
        raise StoreError(f"there is no column '{name}'; {nearest(name, frame.columns)}")
    return frame[name]


def list_parts(column: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """The values of a list column end to end, and the length of each row; a missing list is empty."""
    if not isinstance(column.dtype, pl.List):
        raise StoreError(f"column '{column.name}' must hold lists, got {column.dtype}")
    lengths = column.list.len().fill_null(0)
    return column.filter(lengths > 0).explode(), lengths.to_numpy().astype(np.int64)


def categories_of(columns: Sequence[pl.Series]) -> list[str]:
    """The distinct categories of several columns, sorted."""
    flat = [list_parts(c)[0] if isinstance(c.dtype, pl.List) else c for c in columns]
    joined = pl.concat([part.cast(pl.String).rename("value") for part in flat])
    return joined.filter(joined.is_not_null() & (joined != "")).unique().sort().to_list()


def num_given(column: pl.Series) -> int:
    """How many values a column of categories has, those of lists each counted."""
    flat = list_parts(column)[0] if isinstance(column.dtype, pl.List) else column
    return int((flat.is_not_null() & (flat.cast(pl.String) != "")).sum())


def encode_categories(column: pl.Series, categories: Sequence[str]) -> Ragged:
    """Category ids (int32); a missing category leaves an empty row."""
    if isinstance(column.dtype, pl.List):
        flat, lengths = list_parts(column)
    else:
        flat, lengths = column, np.ones(len(column), dtype=np.int64)
    ids = rows_of(flat, pl.Enum(categories))
    return Ragged.from_lengths(ids.astype(np.int32), lengths).keep(ids >= 0)


def encode_numbers(column: pl.Series) -> Ragged:
    """Numbers (float32); a missing one, or NaN, leaves an empty row.

    Raises:
        StoreError: a value is not a number, or is infinite in float32.
    """
    numbers = column.cast(pl.Float64, strict=False)
    given = column.is_not_null() & (column.cast(pl.String) != "")
    kept = numbers.fill_nan(None).cast(pl.Float32)
    wrong = given & (numbers.is_null() | kept.is_infinite())
    if wrong.any():
        example = column.filter(wrong)[0]
        raise StoreError(
            f"column '{column.name}' must hold numbers: {wrong.sum():,} of {len(column):,} values are none, "
            f"e.g. {example!r}"
        )
    lengths = kept.is_not_null().to_numpy().astype(np.int64)
    return Ragged.from_lengths(kept.drop_nulls().to_numpy(), lengths)
