"""Ragged rows behave as a list of lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from legorec.data.ragged import Ragged

ROWS = st.lists(st.lists(st.integers(-9, 9), max_size=6), max_size=8)


def lists(rows: Ragged) -> list[list[int]]:
    return [row.tolist() for row in rows]


@given(ROWS, st.integers(1, 7), st.data())
def test_equals_lists(rows: list[list[int]], count: int, data: st.DataObject) -> None:
    packed = Ragged.from_lists(rows)
    assert len(packed) == len(rows) and lists(packed) == rows
    assert packed.lengths.tolist() == [len(row) for row in rows]
    assert lists(packed.first(count)) == [row[:count] for row in rows]
    assert lists(packed.last(count)) == [row[-count:] for row in rows]
    assert packed.rows.tolist() == [number for number, row in enumerate(rows) for _ in row]
    assert packed.places.tolist() == [place for row in rows for place in range(len(row))]
    assert lists(packed.keep(packed.values > 0)) == [[value for value in row if value > 0] for row in rows]
    order = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=9) if rows else st.just([]))
    assert lists(packed.take(order)) == [rows[row] for row in order]
    joined = Ragged.concatenate([packed, packed.take(order)])
    assert lists(joined) == rows + [rows[row] for row in order]


@given(ROWS)
def test_offsets_begin_at_zero_after_every_cut(rows: list[list[int]]) -> None:
    packed = Ragged.from_lists(rows)
    for cut in (packed.first(2), packed.last(2), packed.take(np.arange(len(packed))[::-1])):
        assert cut.offsets[0] == 0 and cut.offsets[-1] == len(cut.values)


def test_negative_rows_and_wrong_offsets() -> None:
    packed = Ragged.from_lists([[1], [2, 3]])
    assert packed[-1].tolist() == [2, 3]
    with pytest.raises(IndexError, match="row 2 of 2"):
        packed[2]
    with pytest.raises(ValueError, match="`offsets` must run from 0 to the number of values"):
        Ragged(np.arange(3), np.array([0, 2]))
    with pytest.raises(ValueError, match="at least 1 value, got 0"):
        packed.first(0)


def test_nothing_is_copied_when_nothing_is_cut() -> None:
    packed = Ragged.from_lists([[1], [2, 3]])
    assert np.shares_memory(packed.first(2).values, packed.values)
