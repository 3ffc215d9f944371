"""Items by raw id or by their fields, checked on their way in, and the best of a store on their way out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from legorec.nn.sending import sent
from legorec.sequences import as_text, is_whole, listed

if TYPE_CHECKING:
    from legorec.recipes.inputs.store_data import Data

Item = str | Mapping[str, Any]  # a raw id, or the fields of an item that is in no table: {"title": "..."}


class Recommended(NamedTuple):
    """One recommended item."""

    item: str
    score: float


def checked(items: Iterable[Item], name: str) -> list[Item]:
    """The items in the order in which they are given, each a raw id or a mapping of fields.

    A list of its own: a column of a data frame is read by its labels where a list is read by its places.

    Raises:
        ValueError: they have no order or are not items, naming the first that is none.
    """
    every = listed(items, name, "items")
    for item in every:
        if not isinstance(item, str | Mapping):
            wanted = "a raw id (a text) or a mapping of fields"
            raise ValueError(f"an item of `{name}` is {wanted}, got {item!r}{as_text(item)}")
    return every


def checked_user(user: str | None) -> str | None:
    """The raw id of a user, or None for a stranger.

    Raises:
        ValueError: it is neither.
    """
    if user is not None and not isinstance(user, str):
        raise ValueError(f"`user` is a raw id (a text) or None, got {user!r}{as_text(user)}")
    return user


def check_count(k: int) -> None:
    """Raises ValueError: ``k`` is no whole number, or below 1."""
    if not is_whole(k):
        raise ValueError(f"`k` must be a whole number, got {k!r}")
    if k < 1:
        raise ValueError(f"`k` must be at least 1, got {k}")


def check_real(data: Data, candidates: Sequence[Item], rows: np.ndarray) -> None:
    """Raises ValueError: a candidate, whose row this is, is a generated item."""
    if (generated := (rows >= data.num_real) & (rows < data.num_items)).any():
        raw = candidates[int(generated.argmax())]
        raise ValueError(f"`candidates` holds the generated item {raw!r}; such stand in histories alone")


def known_rows(data: Data, raw_ids: Sequence[str]) -> np.ndarray:
    """The rows of some items of the store.

    Raises:
        ValueError: one is not there.
    """
    rows = data.store.items.index(raw_ids)
    unknown = [raw for raw, row in zip(raw_ids, rows, strict=True) if row < 0]
    if unknown:
        raise ValueError(
            f"{len(unknown)} of {len(raw_ids)} items are not in {data.store.path}, first "
            f"'{unknown[0]}'; give an item that is new as its fields, {{'title': ...}}"
        )
    return rows


class Ids(Protocol):
    """Items by row and by raw id."""

    @property
    def generated(self) -> slice: ...

    def rows_of(self, raw_ids: Sequence[str]) -> np.ndarray: ...

    def id_of(self, row: int) -> str: ...


@dataclass(frozen=True)
class StoredIds:
    """The items of a store."""

    data: Data

    @property
    def generated(self) -> slice:
        """The rows of generated items."""
        return slice(self.data.num_real, self.data.num_items)

    def rows_of(self, raw_ids: Sequence[str]) -> np.ndarray:
        """Their rows; raises ValueError where one is not there."""
        return known_rows(self.data, raw_ids)

    def id_of(self, row: int) -> str:
        """The raw id of a row."""
        return self.data.store.items.ids[row]


def best_items(
    items: Ids, scores_N: Tensor, k: int, history: Sequence[Item], include_history: bool
) -> list[Recommended]:
    """The ``k`` best items, best first, ties in their order; no generated ones.

    Args:
        scores_N: one for each item, which are changed here.
        history: its items are left out unless ``include_history``.
    """
    scores_N[items.generated] = -torch.inf
    known = [item for item in history if isinstance(item, str)]
    if known and not include_history:
        (rows,) = sent(scores_N.device, items.rows_of(known).astype(np.int64))
        scores_N.index_fill_(0, rows, -torch.inf)
    order = torch.argsort(scores_N, descending=True, stable=True)[:k]
    return [
        Recommended(items.id_of(row), score)
        for row, score in zip(order.tolist(), scores_N[order].tolist(), strict=True)
        if score != -torch.inf
    ]
