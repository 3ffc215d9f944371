"""Items by raw id or by their fields, checked on their way in, and the best of a store on their way out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor

from legorec.nn.sending import sent
from legorec.sequences import as_text, is_whole, listed

if TYPE_CHECKING:
    from legorec.recipes.inputs.store_data import Data

By = Literal["model", "popularity"]
Item = str | Mapping[str, Any]  # a raw id, or the fields of an item that is in no table: {"title": "..."}


class Recommended(NamedTuple):
    """One recommended item."""

    item: str
    score: float


class Recommendations(list[Recommended]):
    """Recommended items, best first.

    Args:
        by: ``model``, or ``popularity`` where nothing is known of who asks: a score is then how many users
            clicked the item in the training data.
        skipped: items of the history that are not known, where these may be skipped.
    """

    def __init__(self, items: Iterable[Recommended] = (), by: By = "model", skipped: int = 0) -> None:
        super().__init__(items)
        self.by, self.skipped = by, skipped


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


def check_choice(value: Any, name: str, choices: Sequence[str]) -> None:
    """Raises ValueError: it is none of the choices."""
    if value not in choices:
        raise ValueError(f"`{name}` must be {' or '.join(map(repr, choices))}, got {value!r}")


def check_real(data: Data, candidates: Sequence[Item], rows: np.ndarray) -> None:
    """Raises ValueError: a candidate, whose row this is, is a generated item."""
    if (generated := (rows >= data.num_real) & (rows < data.num_items)).any():
        raw = candidates[int(generated.argmax())]
        raise ValueError(f"`candidates` holds the generated item {raw!r}; such stand in histories alone")


def refuse_unknown(raw_ids: Sequence[Any], rows: np.ndarray, data: Data) -> NoReturn:
    """Raises ValueError: the items whose row is -1 are not in the store."""
    unknown = np.flatnonzero(rows < 0)
    raise ValueError(
        f"{len(unknown)} of {len(rows)} items are not in {data.store.path}, first "
        f"'{raw_ids[int(unknown[0])]}'; give an item that is new as its fields, {{'title': ...}}"
    )


def best_items(
    names: Callable[[np.ndarray], Iterable[str]],
    rows: np.ndarray,
    scores_N: Tensor,
    k: int,
    left_out: np.ndarray,
) -> Recommendations:
    """The ``k`` best of some items, best first, ties in their order.

    Args:
        names: the raw ids of rows.
        rows: (N,) of the items.
        scores_N: one for each of them, which are changed here.
        left_out: rows that are not recommended.
    """
    if len(left_out):
        (places,) = sent(scores_N.device, np.flatnonzero(np.isin(rows, left_out)))
        scores_N.index_fill_(0, places, -torch.inf)
    order = torch.argsort(scores_N, descending=True, stable=True)[:k]
    best = scores_N[order].tolist()
    found = zip(names(rows[order.cpu().numpy()]), best, strict=True)
    return Recommendations(Recommended(item, score) for item, score in found if score != -torch.inf)
