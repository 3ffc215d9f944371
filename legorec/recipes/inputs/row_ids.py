"""Whose the rows of weights are, here and in the run that training starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from legorec.abilities import RowsOf
from legorec.data.store import Store
from legorec.engine.weights import RowMatch
from legorec.recipes.inputs.digests import CODES, ITEM_IDS, USER_IDS


class RowIds:
    """Matches rows by raw id, by token or by category.

    The store that the run was trained on is opened only where such ids differ from those of this one.

    Args:
        here: the store at hand.
        now: digests of what is read of it.
        then: the same of the run, as its checkpoint has them.
        old_store: gives the folder that the run was trained on; asked only where it is needed.
    """

    def __init__(
        self,
        here: Store,
        now: Mapping[str, str],
        then: Mapping[str, str],
        old_store: Callable[[], Path],
    ) -> None:
        self.here, self.now, self.then = here, now, then
        self._old_store = old_store
        self.counts: dict[str, tuple[int, int, int]] = {}  # kept, new and gone, by whose the rows are

    @cached_property
    def there(self) -> Store:
        """The store that the run was trained on.

        Raises:
            StoreError: it is not there, or was altered.
        """
        return Store.open(self._old_store())

    def match(self, owners: list[RowsOf]) -> RowMatch:
        """The rows of one weight, whose these are one after the other.

        Raises:
            ValueError: they differ from those of the run, whose store is gone or has been replaced.
        """
        places, start = [], 0
        for rows in owners:
            found, count = self._places(rows)
            if count is None:
                return RowMatch(torch.full((sum(each.size for each in owners),), -1), None)
            places.append(np.where(found >= 0, found + start, -1))
            start += count
        return RowMatch(torch.from_numpy(np.concatenate(places)), start)

    def _places(self, rows: RowsOf) -> tuple[np.ndarray, int | None]:
        """Which row there each row here is, and how many there are; None: any number of others."""
        file = file_of(rows)
        if file is None:
            return np.arange(rows.size), rows.size
        if self.now.get(file, self._digest(self.here, file)) == self.then.get(file):
            self._count(rows, rows.size, 0, 0)
            return np.arange(rows.size), rows.size
        if file == CODES:
            self._count(rows, 0, rows.size, 0)
            return np.full(rows.size, -1), None
        if self._digest(self.there, file) != self.then.get(file):
            raise ValueError(
                f"{self.there.path} is not what it was when the run was trained that is to be started from: "
                f"'{file}' has changed since, and rows are matched by what it holds; keep the older store, "
                "and write the new one to another folder"
            )
        here, there = ids_of(self.here, rows), ids_of(self.there, rows)
        spelled = _in_order(here, rows.size)
        found = np.array([-1 if each is None else there.get(each, -1) for each in spelled], dtype=np.int64)
        kept = int((found >= 0).sum())
        self._count(rows, kept, len(here) - kept, len(there) - kept)
        return found, max(there.values(), default=-1) + 1

    @staticmethod
    def _digest(store: Store, file: str) -> str | None:
        return store.manifest["files"].get(file, {}).get("blake2b")

    def _count(self, rows: RowsOf, kept: int, new: int, gone: int) -> None:
        self.counts[rows.vocabulary or rows.kind] = (kept, new, gone)

    def said(self) -> list[str]:
        """A line for each whose rows were matched."""
        lines = []
        for name, (kept, new, gone) in self.counts.items():
            left = f", {gone:,} no longer there" if gone else ""
            lines.append(f"{name}: {kept:,} kept, {new:,} new{left}")
        return lines


def file_of(rows: RowsOf) -> str | None:
    """The input by whose digest it is known that rows are the same; None: they always are."""
    return {
        "items": ITEM_IDS,
        "users": USER_IDS,
        "text": f"tokenizers/{rows.vocabulary}/tokenizer.json",
        "category": f"vocabularies/{rows.vocabulary}.json",
        "codes": CODES,
        "number": None,
    }[rows.kind]


def ids_of(store: Store, rows: RowsOf) -> dict[str, int]:
    """The row of each raw id, token or category of a store."""
    if rows.kind == "text":
        return store.tokenizer(rows.vocabulary).get_vocab(with_added_tokens=True)
    if rows.kind == "category":
        return {name: row for row, name in enumerate(store.vocabulary(rows.vocabulary))}
    table = store.items if rows.kind == "items" else store.users
    return {raw: row for row, raw in enumerate(table.ids)}


def _in_order(rows: Mapping[str, int], count: int) -> list[str | None]:
    """Ids by row; None where a row has none."""
    found: list[str | None] = [None] * count
    for each, row in rows.items():
        found[row] = each
    return found
