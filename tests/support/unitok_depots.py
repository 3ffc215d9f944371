"""Depots for tests, in the layouts of UniTok 3 and 4, written without UniTok; and stores made of them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from legorec.data.store import Store
from process.unitok import main
from tests.support.raw_files import candidates, history

WORDS = {
    "nid": ["n1", "n2", "n3", "n4"],
    "bert": ["[PAD]", "[UNK]", "play", "##ing", "chess", "a b", "", "play"],
    "cat": ["sport", "", "news"],
    "uid": ["u", "v", "w"],
    "imp": ["i9", "i7", "i8"],
    "click": ["1", "0"],
    "index": [str(place) for place in range(9)],
    "topic": ["x", "y"],
}
ITEMS = {
    "nid": ("nid", [0, 1, 2, 3]),
    "cat": ("cat", [0, 1, 2, 0]),
    "title": ("bert", [[2, 3, 4], [], [5, 6, 7], [4]]),
}
USERS = {
    "uid": ("uid", [0, 1, 2]),
    "history": ("nid", [[0, 1], [], [3, 3, 2]]),
    "neg": ("nid", [[2], [3, 0], []]),
    "topic": ("topic", [1, 0, 1]),
}
TRAIN = {
    "index": ("index", list(range(6))),
    "imp": ("imp", [1, 0, 1, 0, 2, 1]),
    "uid": ("uid", [0, 1, 0, 1, 0, 2]),
    "nid": ("nid", [2, 3, 3, 0, 1, 1]),
    "click": ("click", [0, 1, 1, 0, 1, 0]),
}
DEV = {"index": ("index", [0]), "uid": ("uid", [0]), "nid": ("nid", [3])}
# Name -> vocabulary, and ids or lists of ids; the first is the key.
Columns = Mapping[str, tuple[str, Sequence[Any]]]


def version_3(path: Path, columns: Columns, words: Mapping[str, Sequence[str]], **changes: Any) -> Path:
    """What UniTok 3 writes; numpy makes one array of two dimensions of lists of one length."""
    path.mkdir(parents=True, exist_ok=True)
    about: dict[str, dict[str, Any]] = {}
    for name, (vocabulary, values) in columns.items():
        about[name] = {"voc": vocabulary}
        if values and isinstance(values[0], list | np.ndarray):
            about[name] |= {"max_length": max(map(len, values)), "padding": False}
    meta = {
        "version": "UniDep-2.0",
        "id_col": next(iter(columns)),
        "cols": about,
        "vocs": {
            name: {"size": len(words[name]), "cols": []} for name in {each for each, _ in columns.values()}
        },
    }
    (path / "meta.data.json").write_text(json.dumps(meta | changes))
    try:
        data = {name: np.array(values, dtype=object) for name, (_, values) in columns.items()}
    except ValueError:  # rows that are arrays of several lengths
        data = {name: np.fromiter(values, dtype=object) for name, (_, values) in columns.items()}
    np.save(path / "data.npy", data, allow_pickle=True)  # type: ignore[arg-type]
    for name in meta["vocs"]:
        (path / f"tok.{name}.dat").write_text("".join(f"{word}\n" for word in words[name]), newline="")
    return path


def version_4(
    path: Path, columns: Columns, words: Mapping[str, Sequence[str]], classes: Mapping[str, str] | None = None
) -> Path:
    """What UniTok 4 writes.

    Args:
        classes: the tokenizer of a column; ``entity`` or ``bert`` by default.
    """
    path.mkdir(parents=True, exist_ok=True)
    features, tokenizers = [], []
    for place, (name, (vocabulary, values)) in enumerate(columns.items()):
        is_list = bool(values) and isinstance(values[0], list)
        kind = (classes or {}).get(name, "bert" if is_list else "entity")
        tokenizers.append({"tokenizer_id": f"t{place}", "vocab": vocabulary, "classname": kind, "params": {}})
        feature = {"name": name, "column": name, "tokenizer": f"t{place}", "truncate": 0 if is_list else None}
        features.append({**feature, "order": 0, "key": not place, "max_len": 0})
    used = {vocabulary for vocabulary, _ in columns.values()}
    meta = {
        "version": "unidep-v4.1",
        "vocabularies": [{"name": name, "vocab_size": len(words[name])} for name in used],
        "tokenizers": tokenizers,
        "features": features,
    }
    (path / "meta.json").write_text(json.dumps(meta))
    (path / "data.pkl").write_bytes(
        pickle.dumps({name: list(values) for name, (_, values) in columns.items()})
    )
    for name in used:
        (path / f"{name}.vocab").write_bytes(pickle.dumps(list(words[name])))
    return path


def depots(folder: Path, version: int = 3, **changes: Any) -> list[Any]:
    """Depots of a small set, as arguments."""
    tables = {"items": ITEMS, "users": USERS, "train": TRAIN, "dev": DEV, **changes}
    made = version_3 if version == 3 else version_4
    return [
        part for name, table in tables.items() for part in (f"--{name}", made(folder / name, table, WORDS))
    ]


def imported(out: Path, *arguments: Any) -> Store:
    """The store that an import writes."""
    main([str(part) for part in ("import", *arguments, "--out", out)])
    return Store.open(out)


def impressions(store: Store, split: str) -> list[tuple[str, list[str], dict[str, int]]]:
    """User, history and labelled candidates of every impression, in raw ids."""
    users = store.users.ids.take(store.interactions(split).user)
    return [
        (user, history(store, split, row), candidates(store, split, row)) for row, user in enumerate(users)
    ]


def assert_same(one: Store, other: Store) -> None:
    """The same items, users, tokens and impressions."""
    assert list(one.items.ids) == list(other.items.ids) and list(one.users.ids) == list(other.users.ids)
    assert sorted(one.items.field_names) == sorted(other.items.field_names)
    for name in one.items.field_names:
        assert one.items.field(name).rows == other.items.field(name).rows, name
        assert one.items.field(name).vocab_size == other.items.field(name).vocab_size, name
    assert one.splits == other.splits
    for split in one.splits:
        assert impressions(one, split) == impressions(other, split)
        assert one.interactions(split).labelled == other.interactions(split).labelled
        assert one.interactions(split).candidates == other.interactions(split).candidates
