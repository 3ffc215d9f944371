"""A store's items without its users: what a model needs that is carried to another place."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from legorec.data.layout import map_arrays, save_arrays
from legorec.data.store import Store
from legorec.data.writing.folder import write_manifest
from legorec.files.disk import writing

NOBODY: Mapping[str, Any] = {"count": 0, "fields": [], "texts": [], "visible": False}


def write_items_alone(store: Store, folder: Path, read: Iterable[str]) -> None:
    """Write a store with the same items in the same order, and no users, histories or impressions.

    Generated items, which are made for single users and called after them, are left out: they are the last.

    Of the items it has their ids, which of them training may see, the fields that are read and the texts
    of these; of what the store was made with, its tokenizers.

    Args:
        folder: which is made, and must not be there.
        read: the files of fields and tokenizers that are kept, as the store's manifest calls them.
    Raises:
        WriteError: the disk is full, or may not be written.
    """
    wanted, there = set(read), store.manifest
    items = _kept_items(there["items"], wanted)
    owned = {part["vocabulary"] for part in items["fields"] if part["kind"] != "text"}
    vocabularies = [part for part in there["vocabularies"] if part["name"] in owned]
    tokenizers = {
        name: fact
        for name, fact in there["tokenizers"].items()
        if f"tokenizers/{name}/tokenizer.json" in wanted
    }
    files = ["items/ids.safetensors", *(["items/visible.safetensors"] if items["visible"] else [])]
    files += [f"items/{part['name']}.safetensors" for part in items["fields"]]
    files += [f"items/{name}.text.safetensors" for name in items["texts"]]
    files += [f"vocabularies/{part['name']}.json" for part in vocabularies]
    files += [f"tokenizers/{name}/tokenizer.json" for name in tokenizers]
    for name in files:
        if name.startswith("items/") and store.items.num_real < len(store.items):
            save_arrays(folder / name, _first(map_arrays(store.path / name), store.items.num_real))
        else:
            _copy(store.path / name, folder / name)
    _write_nobody(folder, marked=store.marks is not None)
    made = there["made_with"].get("tokenizers", {})
    marks = {name: value for name, value in there["histories"].items() if name == "marks"}
    write_manifest(
        folder,
        {
            "format": there["format"],
            "version": there["version"],
            "items": {**items, "count": store.items.num_real, "generated": 0},
            "users": NOBODY,
            "histories": {"clicks": 0, "spans": 0, "longest": store.longest_history, **marks},
            "interactions": {},
            "vocabularies": vocabularies,
            "tokenizers": tokenizers,
            "made_with": {"tokenizers": {name: made[name] for name in tokenizers if name in made}},
            "dropped": {"ids": {}, "rows": {}},
        },
    )


def _kept_items(facts: Mapping[str, Any], wanted: set[str]) -> dict[str, Any]:
    """What a manifest says of the items, of the fields that are kept."""
    fields = [part for part in facts["fields"] if f"items/{part['name']}.safetensors" in wanted]
    names = {part["name"].partition("@")[0] for part in fields}
    return {**facts, "fields": fields, "texts": [name for name in facts["texts"] if name in names]}


def _first(arrays: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """The first rows of a file of items: of values with offsets, or of one value each."""
    if "offsets" not in arrays:
        return {name: values[:count] for name, values in arrays.items()}
    offsets = arrays["offsets"][: count + 1]
    return {"values": arrays["values"][: offsets[-1]], "offsets": offsets}


def _copy(source: Path, target: Path) -> None:
    with writing(target, source.stat().st_size):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _write_nobody(folder: Path, marked: bool) -> None:
    """The files of users and histories, with none in them."""
    nothing: dict[str, np.ndarray] = {
        "values": np.zeros(0, dtype=np.uint8),
        "offsets": np.zeros(1, dtype=np.int64),
    }
    save_arrays(folder / "users" / "ids.safetensors", nothing)
    histories: dict[str, np.ndarray] = {
        "clicks": np.zeros(0, dtype=np.int32),
        "spans": np.zeros((0, 2), dtype=np.int64),
    }
    if marked:
        histories["marks"] = np.zeros(0, dtype=np.uint8)
    save_arrays(folder / "histories.safetensors", histories)
