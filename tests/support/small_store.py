"""A small store, written by the writer."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from legorec.data.layer import LAYER
from legorec.data.store import Store
from legorec.data.text import TokenizerChoice
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter

ITEMS = pl.DataFrame(
    {
        "id": ["a", "b", "c", "é", "x"],
        "title": ["Hello, world", "", "A b c", "secret é", None],
        "topic": ["news", "", "sport", "news", None],
        "genres": [["q", "r"], [], None, ["q"], ["", "r"]],
        "price": ["1.5", None, "2", "", "0"],
    }
)
COLUMNS = [
    Column("title", "text"),
    Column("category", "category", "topic"),
    Column("genres", "categories"),
    Column("price", "number"),
]
TRAIN = pl.DataFrame(
    {
        "user": ["u", "v", "u", "u"],
        "history": [["a"], [], ["a", "b"], ["a"]],
        "candidates": [["b", "c"], ["a"], ["c"], ["x"]],
        "labels": [[1, 0], [1], [1], [0]],
        "id": ["10", "11", "12", "13"],
        "time": [5, 6, 7, 8],
    }
)
DEV = pl.DataFrame(
    {
        "user": ["u", "v"],
        "history": [["a", "b", "é", "c"], []],
        "candidates": [["b", "é"], ["a"]],
        "labels": [[1, 0], [1]],
    }
)
WORDS, CHARS = TokenizerChoice("words"), TokenizerChoice("chars")


def write(path: Path, overwrite: bool = False, **made_with: object) -> Store:
    """The store of the tables above."""
    settings = {"processor": "small", **made_with}
    with StoreWriter(path, settings, [WORDS, CHARS], overwrite=overwrite) as writer:
        writer.items(ITEMS, COLUMNS)
        writer.impressions("train", TRAIN)
        writer.impressions("dev", DEV)
    return Store.open(path)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, except the layer that names it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LAYER
    }
