"""A two-tower recommender with its weights, which scores and recommends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from legorec.halving import Halving
from legorec.nn.device import module_device
from legorec.nn.sending import sent
from legorec.recipes.inputs.new_vectors import check_encodes, encode_new
from legorec.recipes.inputs.shown_items import known_rows
from legorec.recipes.inputs.store_data import Data
from legorec.recipes.known_items import KnownItems, read_items
from legorec.recipes.outputs.added_items import AddedItems
from legorec.recipes.outputs.bundle import Saves
from legorec.recipes.outputs.recommended import Item, check_real, checked, checked_user
from legorec.recipes.recommending import Recommends
from legorec.recommender import Recommender
from legorec.scorers.paging import rows_at_once, score_rows
from legorec.threads import Once, after_fork

CELLS = 16384  # items scored at a time, or pairs of item and click


class _Items(NamedTuple):
    vectors: Tensor  # (n, D)
    rows: Tensor  # (n,) of the store, on the host; 0 for new ones


class TrainedRecommender(Recommends, Saves):
    """Scores candidates for a history; items are raw ids, or the fields of new ones.

    Any number of threads may ask it at once. A deep copy has weights of its own. A pickle holds the weights
    and the vectors of the items; the store and a language model's cache, which are mapped from disk, go by
    absolute path and digest, and must be there where the pickle is read. In a process that was forked from
    the one that loaded it, torch works in one thread, and not on an accelerator.

    Args:
        model: the recommender, with its weights.
        data: the store's items, as the model was trained on them.
    """

    model: Recommender

    def __init__(self, model: Recommender, data: Data) -> None:
        self.model = model
        self.data = data
        self._items = Halving(1024, "items in pages of")
        self.known = KnownItems(data, Once(self._encode_all))
        self._cells = Halving(CELLS, "candidates, times clicks where they are read, in pages of")

    @property
    def item_vectors(self) -> Tensor:
        """(num_items, D), every item of the store, encoded when they are first needed, then added ones."""
        return self.known.vectors

    @property
    def num_items(self) -> int:
        """Items that are known by raw id: those of the store, and those that were added."""
        return len(self.known)

    def add_items(self, items: Any, item_id: str = "item") -> None:
        """Add new items, which are from then on recommended, and known by their raw ids.

        They are encoded once, from their fields. ``save`` takes them along.

        Args:
            items: a frame of polars or pandas, columns by name, or a list of rows. It has a column for each
                field that the model reads, called as the store calls them; what other columns say of the
                store's categories is for ``filter``.
            item_id: the column of the ids.
        Raises:
            ValueError: an id is known already or there twice, a column is missing or does not hold what it
                should, or the model cannot encode new items.
        """
        after_fork(module_device(self.model))
        check_encodes(self.model, self._way_to_base)
        ids, fields, categories = read_items(self.data, items, item_id)
        self.known.check_new(ids)
        if ids:
            with torch.no_grad():
                self.known = self.known.with_more(AddedItems(ids, self.encode_new(fields), categories))

    def take_vectors(self, vectors_ND: Tensor) -> None:
        """Use these vectors of the store's items in place of those that the model would make."""
        # Not where a file is mapped: how sums are rounded depends on how memory is aligned.
        (there,) = sent(module_device(self.model), vectors_ND.clone())
        self.known = replace(self.known, stored=Once(lambda: there))
        self.known.stored.get()

    def take_added(self, added: AddedItems) -> None:
        """Know some more items."""
        (there,) = sent(module_device(self.model), added.vectors)
        self.known = self.known.with_more(replace(added, vectors=there))

    @property
    def added(self) -> AddedItems | None:
        """Items that were added."""
        return self.known.added

    def vectors_to_keep(self) -> Tensor | None:
        """The item vectors of a model with a language model.

        Raises:
            ValueError: a brick reads more of the items than that.
        """
        if self.data.language_model is None:
            return None
        if self.model.reads_states:
            raise ValueError(
                "the user encoder reads the tokens of a language model, which a saved model does not hold"
            )
        return self.known.stored.get()

    def _encode_all(self) -> Tensor:
        with torch.no_grad():  # a tensor of inference mode could not be copied
            items = torch.arange(self.data.num_items)
            name = "row {} of the items".format
            return torch.cat(list(self._items.pages(items, self.model.encode_items, name)))

    def score(
        self, history: Sequence[Item], candidates: Sequence[Item], *, user: str | None = None
    ) -> np.ndarray:
        """One score a candidate, higher is better.

        Args:
            history: clicked items, oldest first; may be empty.
            user: raw id, for a model that knows its users; one that is in no table is a stranger, as None is.

        Raises:
            ValueError: a raw id is not in the store, a candidate is a generated item, or a new item has a
                field that the model does not read.
        """
        after_fork(module_device(self.model))
        candidates = checked(candidates, "candidates")
        clicked, shown = self._history(history), self._known_or_new(candidates)
        check_real(self.data, candidates, shown.rows.numpy())
        return self._scores(clicked, shown, user).cpu().numpy()

    @property
    def candidate_rows(self) -> np.ndarray:
        """(n,) int64, the rows of what may be recommended, ascending: no generated items."""
        return self.known.candidate_rows

    def rows_of(self, raw_ids: Iterable[str]) -> np.ndarray:
        """Rows (int64) of raw ids; -1 where one is not known. A polars column is looked up by polars."""
        return self.known.rows_of(raw_ids)

    def ids_of(self, rows: np.ndarray) -> np.ndarray:
        """The raw ids of rows, in an array of the same shape."""
        return self.known.ids_of(rows)

    def vectors_of(self, items: Sequence[Item]) -> Tensor:
        """(n, D) of items by raw id or by their fields."""
        return self._known_or_new(items).vectors

    def user_row(self, user: str | None) -> int:
        """The row of a user; -1 for a stranger."""
        return -1 if user is None else int(self.data.store.users.index([user])[0])

    def scores_of_rows(self, history: Sequence[Item], rows: np.ndarray, user: str | None) -> Tensor:
        """(n,) the scores of some rows for one history, which may be changed."""
        shown = torch.from_numpy(rows)
        every = len(rows) == len(self.item_vectors)
        vectors = self.item_vectors if every else self.item_vectors[sent(self.item_vectors.device, shown)[0]]
        return self._scores(self._history(history), _Items(vectors, shown), user).clone()

    def _history(self, items: Sequence[Item]) -> _Items:
        limit = self.data.settings.history.max_length
        items = checked(items, "history")
        return self._known_or_new(items[-limit:] if limit else items)

    def _scores(self, clicked: _Items, shown: _Items, user: str | None) -> Tensor:
        with torch.inference_mode():
            vectors, rows = clicked.vectors, clicked.rows[None]
            mask = torch.ones(1, max(1, len(vectors)), dtype=torch.bool)
            if not len(vectors):  # one place that is masked, as a batch of empty histories has it
                vectors, rows, mask = vectors.new_zeros(1, shown.vectors.shape[1]), mask.long(), ~mask
            user = checked_user(user)
            row = self.user_row(user)
            clicks = self.model.clicks_of(rows, mask, torch.tensor([row]), vectors[None])
            users = self.model.encode_users(clicks)

            def score(places: Tensor) -> Tensor:
                part = slice(int(places[0]), int(places[-1]) + 1)
                return score_rows(self.model, users, clicks, shown.vectors[part], shown.rows[part])[0]

            def fitting(_: Tensor, cells: int) -> int:
                return rows_at_once(self.model, users, clicks, cells)

            if not len(shown.rows):
                return shown.vectors.new_zeros(0)
            places, name = torch.arange(len(shown.rows)), "candidate {}".format
            return torch.cat(list(self._cells.pages(places, score, name, fitting)))

    def _known_or_new(self, items: Sequence[Item]) -> _Items:
        """Vectors and rows: known items by gather, new ones encoded from their fields."""
        every = self.known
        table = every.vectors
        known = [place for place, item in enumerate(items) if isinstance(item, str)]
        new = [place for place, item in enumerate(items) if not isinstance(item, str)]
        vectors = table.new_zeros(len(items), table.shape[1])
        rows = torch.zeros(len(items), dtype=torch.int64)
        with torch.inference_mode():
            if known:
                rows[known] = torch.from_numpy(known_rows(every, [str(items[place]) for place in known]))
                places, chosen = sent(table.device, torch.tensor(known), rows[known])
                vectors.index_copy_(0, places, table.index_select(0, chosen))
            if new:
                encoded = self.encode_new([items[place] for place in new])  # type: ignore[misc]
                (places,) = sent(table.device, torch.tensor(new))
                vectors.index_copy_(0, places, encoded)
        return _Items(vectors, rows)

    def encode_new(self, items: Sequence[Mapping[str, Any]]) -> Tensor:
        """(n, D) of items that are given by their fields.

        Raises:
            ValueError: the model cannot encode them, or one has a field that it does not read.
        """
        with torch.inference_mode():
            return encode_new(self.model, self.data, items, self._items, self._way_to_base)

    @property
    def _way_to_base(self) -> str | None:
        return None if self.origin is None else self.origin.way_to_base
