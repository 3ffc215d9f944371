"""Which items may be recommended: some named ones, all but some, or those with a category."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np

from legorec.data.layout import nearest
from legorec.recipes.outputs.recommended import Item, refuse_unknown
from legorec.sequences import as_text, texts

if TYPE_CHECKING:
    from legorec.recipes.inputs.store_data import Data
    from legorec.recipes.outputs.added_items import AddedItems


Unknown = Literal["error", "skip"]  # what is done where a history holds an item that is not known


class KnowsItems(Protocol):
    """Items by row and by raw id; of a model that recommends them, or what it knows them by."""

    @property
    def data(self) -> Data:
        """The store's items."""

    @property
    def added(self) -> AddedItems | None:
        """Items that are in no store; their rows are the last ones."""

    @property
    def candidate_rows(self) -> np.ndarray:
        """(n,) int64, the rows of what may be recommended, ascending."""

    def rows_of(self, raw_ids: Iterable[str]) -> np.ndarray:
        """Rows (int64) of raw ids; -1 where one is not known."""

    def ids_of(self, rows: np.ndarray) -> np.ndarray:
        """The raw ids of rows, in an array of the same shape."""


def known_rows(trained: KnowsItems, raw_ids: Sequence[str]) -> np.ndarray:
    """Rows (int64) of items by raw id.

    Raises:
        ValueError: one is not known.
    """
    rows = trained.rows_of(raw_ids)
    if (rows < 0).any():
        refuse_unknown(raw_ids, rows, trained.data)
    return rows


def shown_rows(
    trained: KnowsItems,
    items: Iterable[str] | None = None,
    exclude: Iterable[str] | None = None,
    filter: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """(n,) int64, the rows that may be recommended, in the order of the store.

    Args:
        items: raw ids of these alone.
        exclude: raw ids of those that may not.
        filter: a category or a list of them by the name of a field; an item needs one of each field.

    Raises:
        ValueError: an id is not known, one of ``items`` was generated, or a field or a category is none of
            the store.
    """
    shown = trained.candidate_rows
    if items is not None:
        wanted = _known(trained, items, "items")
        hidden = ~np.isin(wanted, shown)
        if hidden.any():
            raise ValueError(
                f"`items` holds {int(hidden.sum()):,} generated ones; such stand in histories alone"
            )
        shown = np.unique(wanted)
    if exclude is not None:
        shown = shown[~np.isin(shown, _known(trained, exclude, "exclude"))]
    for name, values in _fields(filter).items():
        shown = shown[_has_any(trained, name, values)[shown]]
    return shown


class KnownClicks(NamedTuple):
    """A history without the raw ids that are not known, and the rows of those that are."""

    history: list[Item]
    rows: np.ndarray


def known_clicks(trained: KnowsItems, history: Sequence[Item], unknown: Unknown) -> tuple[KnownClicks, int]:
    """The clicks of one history on items that are known, or given by their fields, and how many are not.

    Raises:
        ValueError: one is not known, and they are not to be skipped.
    """
    texts_of = [each for each in history if isinstance(each, str)]
    rows = trained.rows_of(texts_of)
    is_unknown = rows < 0
    if not is_unknown.any():
        return KnownClicks(list(history), rows), 0
    if unknown == "error":
        refuse_unknown(texts_of, rows, trained.data)
    there = {raw for raw, row in zip(texts_of, rows, strict=True) if row >= 0}
    left = [each for each in history if not isinstance(each, str) or each in there]
    return KnownClicks(left, rows[~is_unknown]), int(is_unknown.sum())


def _known(trained: KnowsItems, raw_ids: Iterable[str], name: str) -> np.ndarray:
    every = texts(raw_ids, name, "raw ids")
    rows = trained.rows_of(every)
    if (unknown := rows < 0).any():
        first = every[int(unknown.argmax())]
        raise ValueError(f"`{name}` holds {int(unknown.sum()):,} items that are not known, first '{first}'")
    return rows


def _fields(filter: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if filter is not None and not isinstance(filter, Mapping):
        wanted = '{"category": "Drama"} or {"category": ["a", "b"]}'
        raise ValueError(
            f"`filter` must give categories by field, as in {wanted}, got {filter!r}{as_text(filter)}"
        )
    return filter or {}


def _has_any(trained: KnowsItems, name: str, values: Any) -> np.ndarray:
    """(num_items,) True for items that have one of these categories, added ones after those of the store."""
    data, added = trained.data, trained.added
    known = data.store.items.field_names
    if name not in known:
        raise ValueError(
            f"`filter` names the field '{name}', which is no field of the items here; {nearest(name, known)}"
        )
    field = data.category(name, "filter")
    assert field.vocabulary is not None
    vocabulary = data.store.vocabulary(field.vocabulary)
    place = {value: row for row, value in enumerate(vocabulary)}
    wanted = [values] if isinstance(values, str) else texts(values, f"filter['{name}']", "categories")
    of_added = [] if added is None else added.values_of(name)
    there = {value for each in of_added for value in each}
    for value in wanted:
        if value not in place and value not in there:
            raise ValueError(
                f"`filter`: '{value}' is no category of '{name}'; {nearest(value, [*vocabulary, *there])}"
            )
    rows = field.rows
    found = np.zeros(len(rows), dtype=bool)
    found[rows.rows[np.isin(rows.values, [place[value] for value in wanted if value in place])]] = True
    return np.append(found, [not set(wanted).isdisjoint(each) for each in of_added]).astype(bool)
