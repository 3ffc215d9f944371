"""A trained run as an object that scores and recommends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from legorec.abilities import EmbedsNewItems
from legorec.data.catalog import CatalogField
from legorec.data.item_text import stored_field
from legorec.data.ragged import Ragged
from legorec.data.text import encode
from legorec.halving import Halving
from legorec.nn.sending import sent
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.devices import usable_device
from legorec.recipes.inputs.store_data import Data, open_data
from legorec.recipes.inputs.trained_towers import load_trained
from legorec.recipes.outputs.session import settings_file
from legorec.recommender import Recommender
from legorec.scorers.paging import rows_at_once, score_rows

Item = str | Mapping[str, Any]  # a raw id, or the fields of an item that is in no table: {"title": "..."}


CELLS = 16384  # items scored at a time, or pairs of item and click


class _Items(NamedTuple):
    vectors: Tensor  # (n, D)
    rows: Tensor  # (n,) of the store, on the host; 0 for new ones


class Recommended(NamedTuple):
    """One recommended item."""

    item: str
    score: float


def load(run_folder: str | Path, device: str = "auto") -> TrainedRecommender:
    """The best epoch of a run, on the store that it was trained on.

    Raises:
        ValueError: the folder is no finished run, or its store or weights do not belong to its settings.
    """
    from legorec.settings import read_command_line

    folder = Path(run_folder)
    settings = read_command_line(["--settings", str(settings_file(folder))])
    data = open_data(settings)
    model = build_model(settings, data, usable_device(device))
    load_trained(Path(settings.exp.load or folder), model, settings, data)
    return TrainedRecommender(model.eval(), data)


class TrainedRecommender:
    """Scores candidates for a history; items are raw ids, or the fields of new ones.

    Args:
        model: the recommender, with its weights.
        data: the store's items, as the model was trained on them.
    """

    def __init__(self, model: Recommender, data: Data) -> None:
        self.model = model
        self.data = data
        self._items = Halving(1024, "items in pages of")
        self._cells = Halving(CELLS, "candidates, times clicks where they are read, in pages of")

    @cached_property
    def item_vectors(self) -> Tensor:
        """(num_items, D), every item of the store encoded once."""
        with torch.inference_mode():
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
            ValueError: a raw id is not in the store, or a new item has a field that the model does not read.
        """
        clicked, shown = self._history(history), self._known_or_new(checked(candidates, "candidates"))
        return self._scores(clicked, shown, user).cpu().numpy()

    def recommend(
        self, history: Sequence[Item], k: int = 10, *, user: str | None = None, include_history: bool = False
    ) -> list[Recommended]:
        """The ``k`` best items of the store, best first; clicked ones are left out unless asked for.

        Raises:
            ValueError: as ``score``, or ``k`` is below 1.
        """
        if k < 1:
            raise ValueError(f"`k` must be at least 1, got {k}")
        history = checked(history, "history")
        every = _Items(self.item_vectors, torch.arange(self.data.num_items))
        scores = self._scores(self._history(history), every, user).clone()
        known = [item for item in history if isinstance(item, str)]
        if known and not include_history:
            (rows,) = sent(scores.device, self._rows(known).astype(np.int64))
            scores.index_fill_(0, rows, -torch.inf)
        order = torch.argsort(scores, descending=True, stable=True)[:k]  # ties in the order of the store
        ids = self.data.store.items.ids
        return [
            Recommended(ids[row], score)
            for row, score in zip(order.tolist(), scores[order].tolist(), strict=True)
            if score != -torch.inf
        ]

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
            row = -1 if user is None else int(self.data.store.users.index([user])[0])
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
        table = self.item_vectors
        known = [place for place, item in enumerate(items) if isinstance(item, str)]
        new = [place for place, item in enumerate(items) if not isinstance(item, str)]
        if new and self.model.reads_rows:
            raise ValueError(
                "a brick of this model looks items up by their rows in the store (click_items, "
                "candidate_items or states), and a new item has none; give raw ids, or another model"
            )
        vectors = table.new_zeros(len(items), table.shape[1])
        rows = torch.zeros(len(items), dtype=torch.int64)
        with torch.inference_mode():
            if known:
                rows[known] = torch.from_numpy(self._rows([str(items[place]) for place in known])).long()
                places, chosen = sent(table.device, torch.tensor(known), rows[known])
                vectors.index_copy_(0, places, table.index_select(0, chosen))
            if new:
                encoded = self._encode_new([items[place] for place in new])  # type: ignore[misc]
                (places,) = sent(table.device, torch.tensor(new))
                vectors.index_copy_(0, places, encoded)
        return _Items(vectors, rows)

    def _rows(self, raw_ids: Sequence[str]) -> np.ndarray:
        rows = np.array(self.data.store.items.index(raw_ids))  # a copy: torch warns of a read-only array
        unknown = [raw for raw, row in zip(raw_ids, rows, strict=True) if row < 0]
        if unknown:
            raise ValueError(
                f"{len(unknown)} of {len(raw_ids)} items are not in {self.data.store.path}, first "
                f"'{unknown[0]}'; give an item that is new as its fields, {{'title': ...}}"
            )
        return rows

    def _encode_new(self, items: Sequence[Mapping[str, Any]]) -> Tensor:
        catalog = self.data.catalog
        source = self.model.source
        if not isinstance(source, EmbedsNewItems):
            raise ValueError(f"{type(source).__name__} reads item ids alone; it cannot encode a new item")
        text = catalog.text
        names = [part.name.partition("@")[0] for part in catalog.fields]
        names = list(text.field_names) if text is not None else names
        for item in items:
            for name in item:
                if name not in names:
                    raise ValueError(f"a new item has the field '{name}'; the model reads {', '.join(names)}")
        if text is not None:
            stored = [stored_field(self.data.store, name, text.tokenizer_name) for name in names]
            kinds = dict(zip(names, (field.kind for field in stored), strict=True))
            filled = [{name: _written(name, kinds[name], item.get(name)) for name in names} for item in items]
            rows = [text.of(filled)]
        else:
            rows = [
                self._tokenize(part, [item.get(name) for item in items])
                for part, name in zip(catalog.fields, names, strict=True)
            ]
        fresh = catalog.with_items(rows).to(catalog.values.device)

        def encode(rows: Tensor) -> Tensor:
            return self.model.item_encoder(source.embed(fresh.tokens(rows)))

        return torch.cat(list(self._items.pages(torch.arange(len(items)), encode, "new item {}".format)))

    def _tokenize(self, part: CatalogField, values: Sequence[Any]) -> Ragged:
        """The tokens or numbers of one field of new items, cut as in training; without unknown categories."""
        if part.kind == "number":
            return Ragged.from_lists([_numbers(part.name, value) for value in values], np.float32)
        lists = [_texts(part.name, part.kind, value) for value in values]
        if part.kind == "text":
            row = encode(self.data.store.tokenizer(part.vocabulary), ["".join(each) for each in lists])
        else:
            place = {value: row for row, value in enumerate(self.data.store.vocabulary(part.vocabulary))}
            found = [[place[value] for value in each if value in place] for each in lists]
            flat = np.array([value for each in found for value in each], dtype=np.int32)
            row = Ragged.from_lengths(flat, [len(each) for each in found])
        cut = self.data.settings.fields[part.name]
        if cut.max_length is None:
            return row
        return row.first(cut.max_length) if cut.keep == "first" else row.last(cut.max_length)


def checked(items: Iterable[Item], name: str) -> list[Item]:
    """The items in the order in which they are given, each a raw id or a mapping of fields.

    A list of its own: a column of a data frame is read by its labels where a list is read by its places.

    Raises:
        ValueError: they have no order or are not items, naming the first that is none.
    """
    if isinstance(items, str | bytes):
        raise ValueError(f"`{name}` must be a list of items, got the text {items!r}")
    if isinstance(items, Mapping | Set) or getattr(items, "ndim", 1) != 1 or hasattr(items, "columns"):
        raise ValueError(f"`{name}` must be a list of items in an order, got a {type(items).__name__}")
    try:
        listed = list(items)
    except TypeError:
        raise ValueError(f"`{name}` must be a list of items, got {items!r}") from None
    for item in listed:
        if not isinstance(item, str | Mapping):
            hint = f"; as a raw id it is {str(item)!r}" if isinstance(item, Integral) else ""
            message = f"an item of `{name}` is a raw id (a text) or a mapping of fields, got {item!r}{hint}"
            raise ValueError(message)
    return listed


def checked_user(user: str | None) -> str | None:
    """The raw id of a user, or None for a stranger.

    Raises:
        ValueError: it is neither.
    """
    if user is not None and not isinstance(user, str):
        raise ValueError(f"`user` is a raw id (a text) or None, got {user!r}")
    return user


def _texts(name: str, kind: str, value: Any) -> list[str]:
    """What is given for one field as a list of texts; None is empty."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    several = kind == "categories" and isinstance(value, Sequence)
    if several and all(isinstance(each, str) for each in value):
        return list(value)
    wanted = "a text or a list of texts" if kind == "categories" else "a text"
    raise ValueError(f"the field '{name}' of a new item must be {wanted}, got {value!r}")


def _numbers(name: str, value: Any) -> list[float]:
    """What is given for one field as the float32 that a store would hold; None is none."""
    if value is None:
        return []
    known = isinstance(value, Real) and not isinstance(value, bool)
    if not known or not abs(value) <= float(np.finfo(np.float32).max):
        raise ValueError(f"the field '{name}' of a new item must be a finite number, got {value!r}")
    return [float(np.float32(value))]


def _written(name: str, kind: str, value: Any) -> list[str]:
    """What is given for one field as texts that a template is filled with."""
    if kind == "number":
        return [f"{number:g}" for number in _numbers(name, value)]
    return [text for text in _texts(name, kind, value) if text]
