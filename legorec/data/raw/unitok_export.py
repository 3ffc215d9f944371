"""Export a store as UniTok 4 depots, in the layout that Legommenders reads: items, users, train, valid, test.

A depot has one history for each user and no floats. So every distinct history of a user is a row of its own
(``u``, ``u_1``, ...), with the user in the column ``original_user``; a number becomes a category, its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from legorec.data.histories import Histories
from legorec.data.layout import StoreError, check_name
from legorec.data.ragged import Ragged
from legorec.data.raw.unitok_fields import words_of
from legorec.data.safe_pickle import dump_pickle
from legorec.data.store import Store, Table
from legorec.data.writing.folder import NewFolder
from legorec.data.writing.progress import Progress
from legorec.files.manifest import save_json

ITEM, USER, HISTORY, NEGATIVES, PERSON = "item_id", "user_id", "history", "neg", "original_user"
INDEX, GROUP, LABEL = "index", "imp", "click"
FOLDERS = {"dev": "valid"}
VERSION = "unidep-v4.1"


class NewDepot:
    """A depot being written: columns are added, the key first, then it is saved.

    Raises:
        StoreError: two columns have the same name, or two vocabularies.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._data: dict[str, list] = {}
        self._words: dict[str, list[str]] = {}
        self._tokenizers: dict[str, dict[str, Any]] = {}
        self._features: list[dict[str, Any]] = []

    def add(self, name: str, values: np.ndarray | Ragged, vocabulary: str, words: Sequence[str]) -> None:
        """Add a column: an id for each row, or a list of ids if ``values`` are ragged."""
        is_list = isinstance(values, Ragged)
        if name in self._data:
            raise StoreError(
                f"{self._path.name}: the column '{name}' would be there twice; a field must not have the name"
            )
        words = list(words)
        if self._words.setdefault(check_name(vocabulary, "vocabulary"), words) != words:
            raise StoreError(f"{self._path.name}: two vocabularies would have the name '{vocabulary}'")
        tokenizer = "entities" if is_list else "digit" if name in (INDEX, LABEL) else "entity"
        size = {"vocab_size": len(words) if name == LABEL else None} if tokenizer == "digit" else {}
        about = {"tokenizer_id": f"{tokenizer}_{vocabulary}", "vocab": vocabulary, "classname": tokenizer}
        self._tokenizers.setdefault(about["tokenizer_id"], {**about, "params": size})
        lengths = values.lengths if isinstance(values, Ragged) else np.empty(0, np.int64)
        self._features.append(
            {
                "name": name,
                "column": name,
                "tokenizer": about["tokenizer_id"],
                "truncate": 0 if is_list else None,
                "order": 0,
                "key": not self._features,
                "max_len": int(lengths.max(initial=0)),
            }
        )
        self._data[name] = _lists(values) if isinstance(values, Ragged) else values.tolist()

    def save(self) -> None:
        """Write the files."""
        self._path.mkdir()
        meta = {
            "version": VERSION,
            "vocabularies": [{"name": name, "vocab_size": len(each)} for name, each in self._words.items()],
            "tokenizers": list(self._tokenizers.values()),
            "features": self._features,
        }
        save_json(self._path / "meta.json", meta)
        for name, words in self._words.items():
            dump_pickle(words, self._path / f"{name}.vocab")
        dump_pickle(self._data, self._path / "data.pkl")


def export(store: Store, out: Path, max_history: int | None, progress: Progress) -> None:
    """Write the depots; the folder ``out`` appears when all is done.

    Args:
        max_history: how many of the most recent clicks of each history are kept; None keeps all.
    Raises:
        StoreError: ``out`` exists, or a name in the store is one that the depots need.
    """
    folder = NewFolder(out)
    try:
        _write_items(store, folder.temporary / "items", progress)
        people = People.of(store)
        _write_users(store, people, folder.temporary / "users", max_history, progress)
        for split in store.splits:
            _write_split(store, people, split, folder.temporary / FOLDERS.get(split, split), progress)
        folder.commit()
    finally:
        folder.discard()


@dataclass(frozen=True)
class People:
    """The rows of the depot of users: each distinct history of each user, and users without a history."""

    users: np.ndarray  # (R,) rows of the store's users, in order
    spans: np.ndarray  # (R,) rows of the store's spans; -1 for a user without an impression
    keys: list[str]

    @classmethod
    def of(cls, store: Store) -> People:
        """The rows for a store."""
        tables = [store.interactions(split) for split in store.splits]
        seen = [np.stack([table.user, table.span], axis=1).astype(np.int64) for table in tables]
        alone = np.stack([np.arange(len(store.users)), np.full(len(store.users), -1)], axis=1)
        pairs = np.unique(np.concatenate([alone, *seen]), axis=0)
        has_history = np.bincount(pairs[:, 0], minlength=len(store.users)) > 1
        pairs = pairs[(pairs[:, 1] >= 0) | ~has_history[pairs[:, 0]]]
        return cls(pairs[:, 0], pairs[:, 1], _keys(list(store.users.ids), pairs[:, 0]))

    def rows(self, users: np.ndarray, spans: np.ndarray) -> np.ndarray:
        """The row of each pair of user and span."""
        width = int(self.spans.max(initial=0)) + 2
        mine = self.users * width + self.spans + 1
        return np.searchsorted(mine, users.astype(np.int64) * width + spans + 1)


def _keys(ids: list[str], users: np.ndarray) -> list[str]:
    """A distinct id for each row: the user's own for the first, then ``u_1``, ``u_2``."""
    order = np.arange(len(users)) - np.searchsorted(users, users)
    known, line = set(ids), "_"
    while True:
        keys = [
            f"{ids[user]}{line}{place}" if place else ids[user]
            for user, place in zip(users, order, strict=True)
        ]
        if not known.intersection(key for key, place in zip(keys, order, strict=True) if place):
            return keys
        line += "_"


def _write_items(store: Store, path: Path, progress: Progress) -> None:
    progress.say("items")
    depot = NewDepot(path)
    depot.add(ITEM, np.arange(len(store.items)), ITEM, list(store.items.ids))
    _add_fields(depot, store, store.items, None)
    depot.save()


def _write_users(
    store: Store, people: People, path: Path, max_history: int | None, progress: Progress
) -> None:
    progress.say("users")
    histories = Histories(store.histories, store.spans, max_history)
    flat = Ragged(store.histories, np.array([0, len(store.histories)], dtype=np.int64))
    has = people.spans >= 0
    starts, stops = (
        np.where(has, each[people.spans], 0) if len(each) else np.zeros(len(has), np.int64)
        for each in (histories.starts, histories.stops)
    )
    items = list(store.items.ids)
    depot = NewDepot(path)
    depot.add(USER, np.arange(len(people.keys)), USER, people.keys)
    depot.add(HISTORY, flat.slices(np.zeros(len(has), np.int64), starts, stops), ITEM, items)
    if "train" in store.splits:
        depot.add(NEGATIVES, _unclicked(store, people), ITEM, items)
    if len(people.keys) > len(store.users):
        depot.add(PERSON, people.users, PERSON, list(store.users.ids))
    _add_fields(depot, store, store.users, people.users)
    depot.save()


def _unclicked(store: Store, people: People) -> Ragged:
    """The items that the training impressions of each row showed and that were clicked in none of them."""
    table, num_items = store.interactions("train"), len(store.items)
    rows = people.rows(table.user, table.span)[table.candidates.rows]
    keys = rows * num_items + table.candidates.values
    keys = np.setdiff1d(keys[table.labels == 0], keys[table.labels == 1]) if table.labelled else keys[:0]
    counts = (
        np.bincount(keys // num_items, minlength=len(people.keys)) if len(keys) else [0] * len(people.keys)
    )
    return Ragged.from_lengths(keys % num_items, counts)


def _write_split(store: Store, people: People, split: str, path: Path, progress: Progress) -> None:
    progress.say(path.name)
    table = store.interactions(split)
    impression = table.candidates.rows
    depot = NewDepot(path)
    depot.add(INDEX, np.arange(len(impression)), INDEX, [str(place) for place in range(len(impression))])
    ids = list(table.ids) if table.ids is not None else []
    if len(set(ids)) < len(table):  # two impressions with the same id would be merged
        ids = [str(place) for place in range(len(table))]
    depot.add(GROUP, impression, GROUP, ids)
    depot.add(USER, people.rows(table.user, table.span)[impression], USER, people.keys)
    depot.add(ITEM, np.asarray(table.candidates.values), ITEM, list(store.items.ids))
    if table.labelled:
        depot.add(LABEL, np.asarray(table.labels), LABEL, ["0", "1"])
    depot.save()


def _add_fields(depot: NewDepot, store: Store, table: Table, rows: np.ndarray | None) -> None:
    """Add every field of a table, for some of its rows; a missing category or number is the empty word."""
    for name in table.field_names:
        field = table.field(name)
        values, vocabulary = field.rows, field.vocabulary or name
        if field.kind == "text":
            words = words_of(store.tokenizer(vocabulary))
        elif field.kind == "number":
            numbers, places = np.unique(values.values, return_inverse=True)
            values = Ragged(places.astype(np.int32), values.offsets)
            words = [np.format_float_positional(number, trim="-") for number in numbers]
        else:
            words = store.vocabulary(vocabulary)
        if field.kind != "text":
            words = [*words, ""]
        if rows is not None:
            values = values.take(rows)
        if field.kind in ("text", "categories"):
            depot.add(name, values, vocabulary, words)
        else:
            single = np.full(len(values), len(words) - 1, dtype=np.int64)
            single[values.lengths == 1] = values.values
            depot.add(name, single, vocabulary, words)


def _lists(values: Ragged) -> list[list[int]]:
    flat = values.values.tolist()
    return [flat[start:stop] for start, stop in pairwise(values.offsets.tolist())]
