"""Histories laid out as spans of one flat array, whatever is in memory at a time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legorec.data.ragged import Ragged
from legorec.data.writing import arrays as writing_arrays
from legorec.data.writing import spans as writing_spans
from legorec.data.writing.arrays import GrowingArray
from legorec.data.writing.spans import HistoryPool, Windows

HISTORIES = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.integers(0, 2), max_size=5)), min_size=1, max_size=20
)
Packed = tuple[list[int], np.ndarray, np.ndarray]


def packed(rows: list[tuple[int, list[int]]], cuts: list[int]) -> Packed:
    """Histories of users through a pool, in chunks: the flat array, spans, and the span of each history."""
    users = np.array([user for user, _ in rows])
    clicks = Ragged.from_lists([clicks for _, clicks in rows])
    with TemporaryDirectory() as scratch:
        pool, windows = HistoryPool(Path(scratch)), Windows(Path(scratch))
        for start, stop in pairwise([0, *cuts, len(rows)]):
            part = clicks.take(np.arange(start, stop))
            pieces = pool.add(users[start:stop], part)
            windows.append(pieces, np.zeros_like(pieces), part.lengths)
        flat = GrowingArray(Path(scratch) / "flat", np.int32)
        layout = pool.pack([windows], flat)
        return flat.mapped().tolist(), layout.spans, np.concatenate(list(layout.spans_of(windows)))


@given(HISTORIES)
def test_spans_give_back_every_history(rows: list[tuple[int, list[int]]]) -> None:
    flat, spans, span = packed(rows, [len(rows) // 2])
    assert [flat[a:b] for a, b in spans[span]] == [each for _, each in rows]
    distinct = {(user, tuple(each)) for user, each in rows}
    assert len(spans) == len(distinct), "equal histories of a user are one span"
    owners = {place: user for (user, _), place in zip(rows, span.tolist(), strict=True)}
    assert all(owners[place] == user for (user, _), place in zip(rows, span.tolist(), strict=True))


@given(HISTORIES, st.integers(1, 7))
def test_blocks_change_nothing(rows: list[tuple[int, list[int]]], size: int) -> None:
    """Whatever is in memory at a time: chunks, users that are laid out, keys that are sorted."""
    flat, spans, span = packed(rows, [])
    with patch.object(writing_spans, "BLOCK", size), patch.object(writing_arrays, "BLOCK", size):
        cut = packed(rows, list(range(1, len(rows), size)))
    assert flat == cut[0] and np.array_equal(spans, cut[1]) and np.array_equal(span, cut[2])


def test_colliding_hashes_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "legorec.data.writing.spans._running_hash", lambda c: np.zeros(len(c.values) + 1, np.uint64)
    )
    rows = [(0, [1, 2]), (0, [3, 4]), (0, [1, 2, 3]), (0, [5]), (0, [3, 4])]
    flat, spans, span = packed(rows, [])
    assert [flat[a:b] for a, b in spans[span]] == [each for _, each in rows]


@given(st.integers(0, 2**32), st.sampled_from([1, 3, 1 << 20]))
@settings(max_examples=30)
def test_items_that_a_span_holds_are_found_block_by_block(seed, block):
    rng = np.random.default_rng(seed)
    clicks = rng.integers(0, 5, 30).astype(np.int32)
    starts = rng.integers(0, 30, 12)
    wanted = np.stack([starts, np.minimum(30, starts + rng.integers(0, 9, 12))], axis=1)
    items = rng.integers(0, 6, 12)
    with patch.object(writing_spans, "BLOCK", block):
        found = writing_spans.held(clicks, wanted, items)
    expected = [item in clicks[a:b] for item, (a, b) in zip(items, wanted, strict=True)]
    assert found.tolist() == expected
