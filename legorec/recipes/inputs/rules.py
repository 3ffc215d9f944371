"""Make the filters of the settings into rules over a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from legorec.data.filters import Rule
from legorec.data.layout import nearest
from legorec.data.ragged import Ragged
from legorec.data.raw.id_lists import read_ids
from legorec.data.store import Field, Store, Table
from legorec.data.writing.spelling import LOOKED_AT, spelt_otherwise

if TYPE_CHECKING:
    from legorec.settings.filters import FilterSettings


def rule_of(asked: FilterSettings, store: Store) -> Rule:
    """One filter over the users or items of a store.

    Raises:
        ValueError: a file, a field or a value does not exist, or a field is not of a kind that has values.
    """
    said = asked.said()
    if asked.users is not None:
        users, num_named = _allowed(Path(asked.users), store)
        return Rule(f"{said}, which names {users.sum():,} of its users in {num_named:,} ids,", users=users)
    if asked.user_field is not None:
        return Rule(said, users=_fulfilling(asked, store, store.users, asked.user_field))
    if asked.item_field is not None:
        return Rule(said, items=_fulfilling(asked, store, store.items, asked.item_field))
    return Rule(said, history=(asked.min_history, asked.max_history))


def _allowed(path: Path, store: Store) -> tuple[np.ndarray, int]:
    """(U,) True for the users that a file names, and how many it names: some may be no users of the store."""
    ids = read_ids(path)
    rows = store.users.index(ids)
    if not (rows >= 0).any():
        differ = spelt_otherwise([*ids.head(LOOKED_AT)], store.users.ids.series(), "that store")
        raise ValueError(
            f"data.filters: none of the {len(ids):,} ids of {path} is a user of {store.path}, {differ}"
        )
    chosen = np.zeros(len(store.users), dtype=bool)
    chosen[rows[rows >= 0]] = True
    return chosen, len(ids)


def _fulfilling(asked: FilterSettings, store: Store, table: Table, name: str) -> np.ndarray:
    """(n,) True for the rows of a table whose field has such a value.

    A row without a value has none of ``only`` and lies in no range, and it is not one of ``without``.
    """
    field = table.field(name)
    if (field.kind == "number") != (asked.only is None and asked.without is None):
        wanted = "at_least or at_most" if field.kind == "number" else "only or without"
        raise ValueError(f"data.filters: '{name}' is a {_kinds(field)}, which is filtered by {wanted}")
    if field.kind == "text":
        raise ValueError(
            f"data.filters: '{name}' is a text, and only categories, lists and numbers have values"
        )
    if field.kind == "number":
        low, high = asked.at_least, asked.at_most
        there = np.ones(len(field.rows.values), dtype=bool) if low is None else field.rows.values >= low
        return _any(field.rows, there if high is None else there & (field.rows.values <= high))
    named = asked.only or asked.without or []
    assert field.vocabulary is not None, "categories have a vocabulary"
    values = store.vocabulary(field.vocabulary)
    place = {value: row for row, value in enumerate(values)}
    for value in named:
        if value not in place:
            raise ValueError(
                f"data.filters: '{name}' has no value '{value}' in {store.path}; {nearest(value, values)}"
            )
    found = _any(field.rows, np.isin(field.rows.values, [place[value] for value in named]))
    return found if asked.only is not None else ~found


def _any(rows: Ragged, chosen: np.ndarray) -> np.ndarray:
    """(n,) True for rows that have a chosen value."""
    return rows.keep(chosen).lengths > 0


def _kinds(field: Field) -> str:
    return {"categories": "list of categories"}.get(field.kind, field.kind)
