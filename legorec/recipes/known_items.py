"""The items that a trained recommender knows by raw id: those of its store, and those that were added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from legorec.data.raw.fields import fields_of, texts_of
from legorec.data.raw.frames import frame_of
from legorec.data.writing.columns import Column
from legorec.recipes.inputs.new_items import names_read
from legorec.recipes.outputs.added_items import AddedItems
from legorec.threads import Once

if TYPE_CHECKING:
    from legorec.recipes.inputs.store_data import Data


@dataclass(frozen=True)
class KnownItems:
    """Vectors and ids of all that can be recommended; one that is asked for many things stays the same.

    Rows below ``data.num_items`` are those of the store, generated items among them; the added ones follow.

    Args:
        stored: the vectors of the store's items, made when they are first needed.
        added: None where there are none.
    """

    data: Data
    stored: Once[Tensor]
    added: AddedItems | None = None
    _whole: Once[Tensor] = field(init=False, repr=False)
    _rows: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        first = self.data.num_items
        object.__setattr__(self, "_whole", Once(self._joined))
        object.__setattr__(self, "_rows", {raw: first + row for row, raw in enumerate(self.ids)})

    def __len__(self) -> int:
        return self.data.num_items + len(self.ids)

    @property
    def ids(self) -> Sequence[str]:
        """Of the added items."""
        return () if self.added is None else self.added.ids

    @property
    def vectors(self) -> Tensor:
        """(len(self), D)"""
        return self._whole.get()

    def _joined(self) -> Tensor:
        stored = self.stored.get()
        return stored if self.added is None else torch.cat([stored, self.added.vectors])

    @property
    def candidate_rows(self) -> np.ndarray:
        """(n,) int64, the rows of what may be recommended, ascending: no generated items."""
        added = np.arange(self.data.num_items, len(self))
        return np.concatenate([np.arange(self.data.num_real), added])

    def rows_of(self, raw_ids: Iterable[str]) -> np.ndarray:
        """(n,) int64 rows of items by raw id; -1 where one is not known."""
        if not self.ids:
            return self.data.store.items.index(raw_ids)
        raw_ids = list(raw_ids)
        rows = np.array(self.data.store.items.index(raw_ids), dtype=np.int64)
        for place in np.flatnonzero(rows < 0).tolist():
            rows[place] = self._rows.get(raw_ids[place], -1)
        return rows

    def ids_of(self, rows: np.ndarray) -> np.ndarray:
        """The raw ids of rows, in an array of the same shape."""
        names = self.data.store.items.names
        if not self.ids:
            return names[rows]
        stored = names[np.minimum(rows, len(names) - 1)]
        added = np.array(self.ids, dtype=object)[np.maximum(rows - self.data.num_items, 0)]
        return np.where(rows < self.data.num_items, stored, added)

    def check_new(self, ids: Sequence[str]) -> None:
        """Raises ValueError: an id is there twice, or is that of an item that is known."""
        if len(set(ids)) < len(ids):
            twice = next(each for place, each in enumerate(ids) if each in ids[:place])
            raise ValueError(f"'{twice}' is there twice among the items to be added")
        there = self.data.store.items.index(ids) >= 0
        known = [raw for raw, stored in zip(ids, there, strict=True) if stored or raw in self._rows]
        if known:
            raise ValueError(
                f"{len(known):,} of {len(ids):,} items to be added are known already, first '{known[0]}'"
            )

    def with_more(self, items: AddedItems) -> KnownItems:
        """With some more items; raises ValueError as ``check_new``."""
        self.check_new(items.ids)
        return replace(self, added=items if self.added is None else self.added.with_more(items))


class ReadItems(NamedTuple):
    """Items of a table, row by row."""

    ids: list[str]
    fields: list[dict[str, Any]]  # that the model reads
    categories: list[dict[str, list[str]]]  # of the store's fields, those that are there


def read_items(data: Data, items: Any, item_id: str) -> ReadItems:
    """Items in a table: a frame, columns by name, or a list of rows.

    A table has a column for each field that the model reads, and may have others.

    Args:
        item_id: the column of the ids.
    Raises:
        ValueError: it is no table, a column is missing, a value cannot be what its field is, or a row has no
            id.
    """
    if isinstance(items, list | tuple) and all(isinstance(each, Mapping) for each in items):
        names = dict.fromkeys(name for each in items for name in each)
        items = {str(name): [each.get(name) for each in items] for name in names}
    frame = frame_of(items, "items")
    names_there = [item_id, *names_read(data)]
    for name in names_there:
        if name not in frame.columns:
            what = "the ids; `item_id` names it" if name == item_id else "a field that the model reads"
            raise ValueError(
                f"the items to be added have no column '{name}', {what}; there are "
                f"{', '.join(frame.columns) or 'none'}"
            )
    ids = texts_of(frame, item_id, "items")
    if without := int((ids.is_null() | (ids == "")).sum()):
        raise ValueError(f"{without:,} of {len(ids):,} items to be added have no id")
    named = [name for name in data.store.items.kinds if name in frame.columns and _is_category(data, name)]
    columns = [_column(data, name) for name in dict.fromkeys([*names_there[1:], *named])]
    bare = [each.name for each in columns if each.kind == "categories" and frame[each.name].dtype == pl.Null]
    frame = frame.with_columns(pl.col(bare).cast(pl.List(pl.String)))  # no item has one
    frame, columns = fields_of(frame, columns, "items")
    rows = frame.select(pl.col(str(each.source)).alias(each.name) for each in columns).to_dicts()
    fields = [{name: row[name] for name in names_there[1:]} for row in rows]
    categories = [{name: _listed(row[name]) for name in named} for row in rows]
    return ReadItems(ids.to_list(), fields, categories)


def _is_category(data: Data, name: str) -> bool:
    return data.store.items.kinds[name] in ("category", "categories")


def _listed(value: str | list[str] | None) -> list[str]:
    """The categories of an item in one field."""
    return [value] if isinstance(value, str) else list(value or ())


def _column(data: Data, name: str) -> Column:
    """The column of a field, read as the store's was."""
    table = data.store.items
    return Column(name, "text" if name in table.text_names else table.field(name).kind)
