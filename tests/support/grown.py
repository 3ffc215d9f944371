"""The store of the next day: old items in another order, some new ones, and clicks of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from legorec.data.store import Store
from legorec.data.writing.like import Like
from legorec.data.writing.rewritten import Content, choices_of
from legorec.data.writing.writer import StoreWriter
from tests.support.runs import COLUMNS, impressions

NEW = ["new0", "new1", "new2"]


def write_grown(old: Path, path: Path, like: bool = False, seed: int = 5) -> Path:
    """A store with all items of ``tests.support.runs.write_store`` from the last to the first, then new ones.

    The new ones have words and a category of their own.

    Args:
        like: whether it is made like the old one.
    """
    rng, store = np.random.default_rng(seed), Store.open(old)
    there = Content.of(store, store.items).frame.reverse()
    items = there.select("id", *(pl.col(f"field {each.name}").alias(each.name) for each in COLUMNS))
    more = pl.DataFrame(
        {
            "id": NEW,
            "title": ["w1 unheard", "unheard of", "w2 w3"],
            "category": ["opera", "c1", "c2"],
            "subcategory": [["s1"], ["s2", "aria"], []],
        },
        schema=items.schema,
    )
    items = pl.concat([items, more])
    choices = [] if like else list(choices_of(store).values())
    with StoreWriter(path, {"processor": "tests"}, choices, like=Like(store) if like else None) as writer:
        writer.items(items, COLUMNS)
        for split, count in (("train", 120), ("dev", 24), ("test", 24)):
            writer.impressions(split, impressions(rng, items["id"].to_list(), count))
    return path
