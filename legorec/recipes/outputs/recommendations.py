"""Ranked rows of a store as lists of items, or as a table."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import starmap
from typing import NamedTuple

import numpy as np
import polars as pl

from legorec.recipes.outputs.recommended import By, Recommendations, Recommended

Names = Callable[[np.ndarray], np.ndarray]  # rows, of any shape -> raw ids
BY_MODEL: By = "model"
BY_POPULARITY: By = "popularity"
# Columns, after those that say whose it is.
ANSWER = {"item": pl.String(), "score": pl.Float32(), "rank": pl.Int32(), "by": pl.String()}


class RankedPart(NamedTuple):
    """The best items for some histories; where fewer are left, the score is -inf."""

    rows: np.ndarray  # (n, k) of the store
    scores: np.ndarray  # (n, k)
    by_model: np.ndarray  # (n,) False where nothing was known, and the popular ones are given
    skipped: np.ndarray  # (n,) clicks on items that are not known


def as_lists(parts: Iterable[RankedPart], names: Names) -> list[Recommendations]:
    """A list of items for each history."""
    found = []
    for part in parts:
        kept = (part.scores > -np.inf).sum(1)
        each = zip(
            names(part.rows).tolist(),
            part.scores.tolist(),
            kept.tolist(),
            part.by_model,
            part.skipped,
            strict=True,
        )
        with _without_collection():
            found += [
                Recommendations(
                    starmap(Recommended, zip(items[:count], scores[:count], strict=True)),
                    BY_MODEL if by_model else BY_POPULARITY,
                    int(skipped),
                )
                for items, scores, count, by_model, skipped in each
            ]
    return found


@contextmanager
def _without_collection() -> Iterator[None]:
    """Python looks for garbage after every so many new objects; among a million that stay it finds none, and
    looking takes four times as long as making them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def as_frame(parts: Sequence[RankedPart], names: Names, rows: pl.Series | pl.DataFrame) -> pl.DataFrame:
    """A row for each history and item: ``item``, ``score``, ``rank`` from 1, and ``by``.

    Args:
        rows: what stands before them, a row for each history.
    """
    rows = rows.to_frame() if isinstance(rows, pl.Series) else rows
    if not parts:
        return rows.clear().hstack(pl.DataFrame(schema=ANSWER))
    items, scores = (np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "scores"))
    by_model = np.concatenate([part.by_model for part in parts])
    row, place = np.nonzero(scores > -np.inf)
    by = pl.Series([BY_POPULARITY, BY_MODEL]).gather(by_model[row].astype(np.uint32))
    return rows[row].with_columns(
        item=pl.Series(names(items[row, place]).tolist(), dtype=pl.String),
        score=pl.Series(scores[row, place].astype(np.float32)),
        rank=pl.Series((place + 1).astype(np.int32)),
        by=by,
    )


def lists_as_frame(lists: Sequence[Recommendations], rows: pl.Series | pl.DataFrame) -> pl.DataFrame:
    """``as_frame`` of lists of items."""
    rows = rows.to_frame() if isinstance(rows, pl.Series) else rows
    row = np.repeat(np.arange(len(lists)), [len(each) for each in lists])
    table = {
        "item": [one.item for each in lists for one in each],
        "score": [one.score for each in lists for one in each],
        "rank": [place for each in lists for place in range(1, len(each) + 1)],
        "by": [each.by for each in lists for _ in each],
    }
    return rows[row].hstack(pl.DataFrame(table, schema=ANSWER))
