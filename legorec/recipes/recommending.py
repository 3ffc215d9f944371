"""What can be asked of a model that has a vector for every item: the best items, and those that are alike."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from legorec.nn.device import module_device
from legorec.recipes.inputs.asked_histories import asked_histories
from legorec.recipes.inputs.shown_items import Unknown, known_clicks, shown_rows
from legorec.recipes.inputs.store_data import Data
from legorec.recipes.nearest_items import KINDS, Kind, NearestItems
from legorec.recipes.outputs.added_items import AddedItems
from legorec.recipes.outputs.recommendations import as_frame, as_lists
from legorec.recipes.outputs.recommended import (
    Item,
    Recommendations,
    best_items,
    check_choice,
    check_count,
    checked,
    checked_user,
)
from legorec.recipes.ranked_histories import popular_list, ranked_parts
from legorec.recipes.similar import LIKENESSES, Likeness, is_one, most_alike
from legorec.recommender import Recommender
from legorec.sequences import is_whole
from legorec.threads import after_fork


class Recommends(ABC):
    """The questions; ``TrainedRecommender`` has what they are answered from."""

    model: Recommender
    data: Data
    index: NearestItems | None = None

    @property
    @abstractmethod
    def item_vectors(self) -> Tensor:
        """(num_items, D)"""

    @property
    @abstractmethod
    def added(self) -> AddedItems | None:
        """Items that are in no store; their rows are the last ones."""

    @property
    @abstractmethod
    def candidate_rows(self) -> np.ndarray:
        """(n,) int64, the rows of what may be recommended, ascending."""

    @abstractmethod
    def rows_of(self, raw_ids: Iterable[str]) -> np.ndarray:
        """Rows (int64) of raw ids; -1 where one is not known."""

    @abstractmethod
    def ids_of(self, rows: np.ndarray) -> np.ndarray:
        """The raw ids of rows, in an array of the same shape."""

    @abstractmethod
    def user_row(self, user: str | None) -> int:
        """The row of a user; -1 for a stranger."""

    @abstractmethod
    def encode_new(self, items: Sequence[Mapping[str, Any]]) -> Tensor:
        """(n, D) of items that are given by their fields."""

    @abstractmethod
    def vectors_of(self, items: Sequence[Item]) -> Tensor:
        """(n, D) of items by raw id or by their fields."""

    @abstractmethod
    def scores_of_rows(self, history: Sequence[Item], rows: np.ndarray, user: str | None) -> Tensor:
        """(n,) the scores of some rows for one history, which may be changed."""

    def recommend(
        self,
        histories: Any,
        k: int = 10,
        *,
        items: Iterable[str] | None = None,
        exclude: Iterable[str] | None = None,
        filter: Mapping[str, str | Sequence[str]] | None = None,
        user: str | None = None,
        users: Sequence[str | None] | None = None,
        include_history: bool = False,
        unknown: Unknown = "error",
    ) -> Any:
        """The ``k`` best items for one history or for many, best first, ties in the order of the store.

        Clicked items are left out unless asked for; generated ones are never recommended. Where nothing is
        known of who asks, no click and no user that the model knows, the items that most users clicked in
        training are given, and ``by`` says so.

        Args:
            histories: a sequence of items, oldest first; a sequence of such; or a frame of polars or pandas
                with a column ``history`` of lists, and perhaps one ``user``.
            items: raw ids of the only items that may be recommended.
            exclude: raw ids of items that may not be.
            filter: a category, or a list of them, by the name of a field of the items; one of each is needed.
                Added items have those that they were added with.
            user: raw id of whose the one history is, for a model that knows its users.
            users: the same for several histories, None for strangers.
            unknown: ``skip`` leaves out ids of a history that are not known, and counts them.

        Returns: ``Recommendations`` for one history, a list of these for several; for a frame one of polars
            with ``user`` (``row`` where there is none), ``item``, ``score``, ``rank``, from 1, and ``by``.

        Raises:
            ValueError: as ``score``, or ``k`` is below 1, or a field or category is none of the items.
        """
        after_fork(module_device(self.model))
        check_count(k)
        check_choice(unknown, "unknown", ("error", "skip"))
        asked = asked_histories(histories, users)
        shown = shown_rows(self, items, exclude, filter)
        if asked.one:
            return self._one(asked.lists[0], k, shown, checked_user(user), include_history, unknown)
        if user is not None:
            raise ValueError("`user` is of one history; of several, `users` says whose they are")
        parts = ranked_parts(self, asked, k, shown, include_history=include_history, unknown=unknown)
        if asked.names is None:
            return as_lists(parts, self.ids_of)
        every = list(parts)
        if skipped := sum(int(part.skipped.sum()) for part in every):
            warnings.warn(f"{skipped:,} clicks on items that are not known were skipped", stacklevel=2)
        return as_frame(every, self.ids_of, asked.names)

    def similar_items(
        self,
        items: Item | Sequence[Item],
        k: int = 10,
        *,
        filter: Mapping[str, str | Sequence[str]] | None = None,
        exclude: Iterable[str] | None = None,
        by: Likeness = "cosine",
    ) -> Any:
        """The ``k`` items whose vectors are most like that of an item, best first, without the item itself.

        Args:
            items: a raw id, or the fields of a new item; or a sequence of such.
            filter: as of ``recommend``, likewise ``exclude``.
            by: ``cosine`` of the vectors, or their inner ``product``.

        Returns: ``Recommendations`` for one item, a list of these for several; a score is the likeness.

        Raises:
            ValueError: an item is not known or cannot be encoded, or ``k`` is below 1.
        """
        after_fork(module_device(self.model))
        check_count(k)
        check_choice(by, "by", LIKENESSES)
        asked = checked([items] if is_one(items) else items, "items")  # type: ignore[list-item]
        shown = shown_rows(self, None, exclude, filter)
        known = [place for place, each in enumerate(asked) if isinstance(each, str)]
        own = np.full(len(asked), -1, dtype=np.int64)
        own[known] = self.rows_of([each for each in asked if isinstance(each, str)])
        with torch.inference_mode():
            vectors = self.vectors_of(asked)
            found = most_alike(self.ids_of, self.item_vectors, shown, vectors, own.tolist(), k, by)
        return found[0] if is_one(items) else found

    def use_index(
        self, histories: Any, k: int = 10, *, kind: Kind = "hnsw", candidates: int = 200
    ) -> dict[str, Any]:
        """Look candidates up in an index of faiss from now on, where many histories are answered.

        The candidates are scored exactly, and a user with too few of them against all items. Answers among
        chosen items (``items``, ``exclude``, ``filter``), with new items in the histories, or for one history
        stay exact. Items that are added later make the index idle; call this again.

        Args:
            histories: some, on which the loss is measured.
            kind: ``hnsw`` or ``ivf``.
            candidates: looked up for each user; more find more, and take longer.

        Returns: ``kind``, ``items``, ``candidates``, ``k``, ``histories``, and ``recall``: the share of the
            exact answers' items that are found.

        Raises:
            ValueError: faiss is not installed, or a score of the model is no inner product.
        """
        after_fork(module_device(self.model))
        check_choice(kind, "kind", KINDS)
        check_count(k)
        if not is_whole(candidates) or candidates < k:
            raise ValueError(f"`candidates` must be a whole number, `k` ({k}) at least, got {candidates!r}")
        if not self.model.scores_by_product:
            name = type(self.model.predictor).__name__
            raise ValueError(f"an index finds the largest inner products, and {name} scores in another way")
        asked = asked_histories(histories)
        if asked.one:
            raise ValueError("`histories` must be several, so that what the index misses can be measured")
        shown = self.candidate_rows
        self.index = None
        exact = np.concatenate([part.rows for part in ranked_parts(self, asked, k, shown)])
        self.index = NearestItems.of(self.item_vectors, shown, kind, candidates)
        found = np.concatenate([part.rows for part in ranked_parts(self, asked, k, shown)])
        shared = sum(len(np.intersect1d(*pair)) for pair in zip(exact, found, strict=True))
        facts = {"kind": kind, "items": len(shown), "candidates": candidates, "k": k, "histories": len(asked)}
        return {**facts, "recall": shared / max(1, exact.size)}

    def _one(
        self,
        history: Sequence[Item],
        k: int,
        shown: np.ndarray,
        user: str | None,
        include_history: bool,
        unknown: Unknown,
    ) -> Recommendations:
        known, skipped = known_clicks(self, history, unknown)
        if not known.history and not (self.model.reads_user and self.user_row(user) >= 0):
            popular = popular_list(self, shown, k, skipped)
            if popular is not None:
                return popular
        scores = self.scores_of_rows(known.history, shown, user)
        left_out = known.rows[:0] if include_history else known.rows
        found = best_items(self.ids_of, shown, scores, k, left_out)
        found.skipped = skipped
        return found
