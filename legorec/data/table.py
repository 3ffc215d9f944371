"""The items or the users of a store: their ids, fields and texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from legorec.data.layout import StoreError, nearest
from legorec.data.number_scale import NumberScale
from legorec.data.ragged import Ragged
from legorec.data.strings import Strings
from legorec.sequences import texts
from legorec.threads import Once

Reader = Callable[[Path], dict[str, np.ndarray]]
FieldKind = Literal["text", "category", "categories", "number"]


@dataclass(frozen=True)
class Field:
    """One column of a table: int32 token ids or float32 numbers; a row is empty if nothing was given."""

    name: str  # "title@bert", "category"
    kind: FieldKind
    rows: Ragged
    vocabulary: str | None  # the tokenizer, or the vocabulary of categories; None for numbers
    vocab_size: int  # 0 for numbers
    scale: NumberScale | None = None  # of numbers, where the store notes another than their own


class Table:
    """Items or users: raw ids, fields and raw texts, each mapped on first use."""

    def __init__(self, folder: Path, facts: Mapping[str, Any], read: Reader) -> None:
        self._folder = folder
        self._facts = facts
        self._read = read
        self._fields: dict[str, Field] = {}
        self._rows = Once(self._rows_by_id)

    def __len__(self) -> int:
        return int(self._facts["count"])

    @cached_property
    def ids(self) -> Strings:
        """Raw ids, in the order of the rows."""
        return strings_of(self._read(self._folder / "ids.safetensors"), "")

    @cached_property
    def names(self) -> np.ndarray:
        """(n,) the raw ids as an array of texts, so that many rows are named at once."""
        found = np.empty(len(self), dtype=object)
        found[:] = list(self.ids)
        return found

    @cached_property
    def visible(self) -> np.ndarray:
        """(n,) bool, True for rows that occur in the train split (all rows, if there is none)."""
        path = self._folder / "visible.safetensors"
        return self._read(path)["visible"].view(bool) if self._facts["visible"] else np.ones(len(self), bool)

    @cached_property
    def generated(self) -> np.ndarray:
        """(n,) bool, True for rows that a language model invented (``process/enrich.py``); the last ones."""
        return np.arange(len(self)) >= self.num_real

    @property
    def num_real(self) -> int:
        """How many of the first rows are no generated items.

        Those after them stand in histories alone: they are never candidates, negatives or recommended.
        """
        return len(self) - int(self._facts.get("generated", 0))

    @cached_property
    def _enum(self) -> pl.Enum:
        return pl.Enum(self.ids.series())

    def _rows_by_id(self) -> dict[str, int]:
        return {raw: row for row, raw in enumerate(self.ids)}

    def index(self, raw_ids: Iterable[str]) -> np.ndarray:
        """Rows (int64) of raw ids; -1 where an id is not in the table.

        A polars column is looked up by polars. Any other list is not: its threads do not outlive a fork, and
        the next call would wait for them for ever.

        Raises:
            ValueError: they are no list, or one is no text.
        """
        if isinstance(raw_ids, pl.Series):
            return rows_of(raw_ids, self._enum)
        known, wanted = self._rows.get(), texts(raw_ids, "raw_ids", "raw ids")
        return np.fromiter(map(known.get, wanted, repeat(-1)), dtype=np.int64, count=len(wanted))

    @property
    def field_names(self) -> tuple[str, ...]:
        """The fields, in the order in which they were written."""
        return tuple(fact["name"] for fact in self._facts["fields"])

    @property
    def kinds(self) -> dict[str, str]:
        """What each field holds, by its name; no file of a field is opened."""
        return {fact["name"]: fact["kind"] for fact in self._facts["fields"]}

    @property
    def text_names(self) -> tuple[str, ...]:
        """The fields whose raw text is in the store."""
        return tuple(self._facts["texts"])

    def field(self, name: str) -> Field:
        """One field by name, a text field with its tokenization (``title@bert``)."""
        if name not in self._fields:
            for fact in self._facts["fields"]:
                if fact["name"] == name:
                    arrays = self._read(self._folder / f"{name}.safetensors")
                    rows = Ragged(arrays["values"], arrays["offsets"])
                    vocabulary, scale = fact["vocabulary"], NumberScale.noted(fact)
                    self._fields[name] = Field(
                        name, fact["kind"], rows, vocabulary, fact["vocab_size"], scale
                    )
                    break
            else:
                rule = f"{self._folder}: there is no field '{name}'"
                raise StoreError(f"{rule}; {nearest(name, self.field_names)}")
        return self._fields[name]

    def text(self, name: str) -> Strings:
        """The raw text of a text field, by its name without tokenization (``title``)."""
        if name not in self.text_names:
            rule = f"{self._folder}: there is no text '{name}'"
            raise StoreError(f"{rule}; {nearest(name, self.text_names)}")
        return strings_of(self._read(self._folder / f"{name}.text.safetensors"), "")


def rows_of(column: pl.Series, enum: pl.Enum) -> np.ndarray:
    """Rows (int64) of raw ids; -1 where an id is unknown or missing."""
    column = column if isinstance(column.dtype, pl.Enum) else column.cast(pl.String)
    physical = column.cast(enum, strict=False).to_physical().cast(pl.Int64)
    return physical.fill_null(-1).to_numpy()


def strings_of(arrays: Mapping[str, np.ndarray], prefix: str) -> Strings:
    """The texts that two arrays of a file hold."""
    return Strings(Ragged(arrays[prefix + "values"], arrays[prefix + "offsets"]))
