"""The best items for many histories at once, part by part, as rows of the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl
import torch
from torch import Tensor

from legorec.data.histories import Histories
from legorec.data.ragged import Ragged
from legorec.recipes.inputs.asked_histories import AskedHistories, Part
from legorec.recipes.inputs.shown_items import KnowsItems, Unknown
from legorec.recipes.inputs.store_data import Data
from legorec.recipes.nearest_items import NearestItems
from legorec.recipes.outputs.recommendations import RankedPart, as_lists
from legorec.recipes.outputs.recommended import Recommendations, refuse_unknown
from legorec.recommender import Recommender
from legorec.scorers.top_items import TopItems, top_items
from legorec.sequences import are_texts

PART = 8192  # histories that are looked up at a time
BATCH = 256  # of these that are encoded and scored at a time


class Ranks(Protocol):
    """A model with a vector for every item."""

    model: Recommender
    data: Data
    index: NearestItems | None

    @property
    def item_vectors(self) -> Tensor:
        """(num_items, D)"""

    def rows_of(self, raw_ids: Iterable[str]) -> np.ndarray:
        """Rows (int64) of raw ids; -1 where one is not known."""

    def encode_new(self, items: Sequence[Mapping[str, Any]]) -> Tensor:
        """(n, D) of items that are given by their fields."""


class _Clicked(NamedTuple):
    clicks: Ragged  # rows of the store; those of new items come after them
    new: list[Mapping[str, Any]]
    skipped: np.ndarray


def ranked_parts(
    trained: Ranks,
    asked: AskedHistories,
    k: int,
    shown: np.ndarray,
    *,
    include_history: bool = False,
    unknown: Unknown = "error",
) -> Iterator[RankedPart]:
    """The ``k`` best of the items ``shown`` for each history, in the order in which they are asked for.

    Memory holds ``PART`` histories at a time, and the scores of a page of them.

    Raises:
        ValueError: an item of a history is not known, a new one cannot be encoded, or a score is NaN.
    """
    for part in asked.parts(PART):
        clicked = _clicked(trained, part, unknown)
        users = _user_rows(trained, part)
        by_model = (clicked.clicks.lengths > 0) | _is_known(trained.model, users)
        found = top_popular(trained.data, shown, k, len(by_model))
        if found is None:
            by_model[:] = True
            found = TopItems(
                *(np.zeros((len(by_model), min(k, len(shown))), t) for t in (np.int64, np.float32))
            )
        chosen = np.flatnonzero(by_model)
        if len(chosen):
            best = _by_model(trained, clicked, users, chosen, k, shown, include_history)
            found.item[chosen], found.score[chosen] = best
        yield RankedPart(*found, by_model, clicked.skipped)


def _by_model(
    trained: Ranks,
    clicked: _Clicked,
    users: np.ndarray,
    chosen: np.ndarray,
    k: int,
    shown: np.ndarray,
    include_history: bool,
) -> TopItems:
    """The best items for the histories ``chosen``; those of a page are of like length."""
    table = trained.item_vectors
    if clicked.new:
        table = torch.cat([table, trained.encode_new(clicked.new)])
    clicks = clicked.clicks
    spans = np.stack([clicks.offsets[:-1], clicks.offsets[1:]], axis=1)
    histories = Histories(clicks.values, spans, trained.data.settings.history.max_length)
    order = chosen[np.argsort(histories.lengths[chosen], kind="stable")]
    index = trained.index
    with torch.inference_mode():
        if index is not None and not clicked.new and np.array_equal(index.rows, shown):
            best = index.best(trained.model, histories, table, users[order], order, k, include_history)
        else:
            best = top_items(
                trained.model, histories, table, users[order], order, k,
                shown=shown, with_clicked=include_history, batch_size=BATCH,
            )  # fmt: skip
    if num_nan := int(np.isnan(best.score).any(1).sum()):
        raise ValueError(
            f"the scores of {num_nan:,} histories are NaN; look for what made them in the weights"
        )
    back = np.argsort(order)
    return TopItems(best.item[back], best.score[back])


def top_popular(data: Data, shown: np.ndarray, k: int, count: int) -> TopItems | None:
    """(count, k) the items that most users clicked, the same for everyone; None where nothing says it."""
    if data.popularity is None:
        return None
    counts = np.zeros(int(shown.max(initial=-1)) + 1, dtype=np.float32)
    known = data.popularity[: len(counts)]
    counts[: len(known)] = known
    best = shown[np.argsort(-counts[shown], kind="stable")[:k]]
    return TopItems(np.tile(best, (count, 1)), np.tile(counts[best], (count, 1)))


def popular_list(trained: KnowsItems, shown: np.ndarray, k: int, skipped: int) -> Recommendations | None:
    """``top_popular`` as the answer to one history, ``skipped`` clicks of which are not known."""
    found = top_popular(trained.data, shown, k, 1)
    if found is None:
        return None
    part = RankedPart(*found, np.zeros(1, dtype=bool), np.array([skipped]))
    return as_lists([part], trained.ids_of)[0]


def _is_known(model: Recommender, users: np.ndarray) -> np.ndarray:
    """True for users of whom the model knows more than their clicks."""
    return (users >= 0) & model.reads_user


def _user_rows(trained: Ranks, part: Part) -> np.ndarray:
    """(n,) rows of the user table; -1 for strangers."""
    if part.users is None or not trained.model.reads_user:
        return np.full(len(part.lengths), -1, dtype=np.int64)
    known = [each or "" for each in part.users]
    return np.where([each is None for each in part.users], -1, trained.data.store.users.index(known))


def _clicked(trained: Ranks, part: Part, unknown: Unknown) -> _Clicked:
    new: list[Mapping[str, Any]] = []
    items = part.items
    if isinstance(items, pl.Series) or are_texts(items):
        rows = trained.rows_of(items)  # type: ignore[arg-type]
    else:
        rows = np.empty(len(items), dtype=np.int64)
        is_new = np.array([not isinstance(each, str) for each in items])
        new = [each for each in items if not isinstance(each, str)]
        rows[~is_new] = trained.rows_of([each for each in items if isinstance(each, str)])
        rows[is_new] = len(trained.item_vectors) + np.arange(len(new))
    clicks = Ragged.from_lengths(rows, part.lengths)
    is_unknown = rows < 0
    if not is_unknown.any():
        return _Clicked(clicks, new, np.zeros(len(part.lengths), dtype=np.int64))
    if unknown == "error":
        refuse_unknown(list(items), rows, trained.data)
    skipped = np.bincount(clicks.rows[is_unknown], minlength=len(part.lengths))
    return _Clicked(clicks.keep(~is_unknown), new, skipped)
