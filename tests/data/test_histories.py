"""Histories against spans read one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legorec.data.histories import Histories

NUM_ITEMS = 9


@st.composite
def stored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Clicks, and spans that may be empty, overlap or repeat."""
    clicks = draw(st.lists(st.integers(0, NUM_ITEMS - 1), max_size=12))
    ends = st.integers(0, len(clicks))
    spans = draw(st.lists(st.tuples(ends, ends).map(sorted), min_size=1, max_size=6))
    return np.array(clicks, dtype=np.int32), np.array(spans, dtype=np.int64)


def one(clicks: np.ndarray, span: np.ndarray, max_length: int | None) -> list[int]:
    whole = clicks[span[0] : span[1]].tolist()
    return whole if max_length is None else whole[-max_length:]


@given(stored(), st.one_of(st.none(), st.integers(1, 5)), st.lists(st.integers(0, 5), max_size=8))
@settings(max_examples=80)
def test_the_most_recent_clicks_of_each_span(data, max_length, chosen):
    clicks, spans = data
    found = Histories(clicks, spans, max_length)
    rows = np.array([row % len(spans) for row in chosen], dtype=np.int64)
    items, mask = found.padded(rows)
    wanted = [one(clicks, spans[row], max_length) for row in rows]
    assert items.shape == mask.shape == (len(rows), max([1, *map(len, wanted)]))
    for row, clicked in enumerate(wanted):
        assert items[row][mask[row]].tolist() == clicked
        assert mask[row].tolist() == [place < len(clicked) for place in range(mask.shape[1])]
        assert not items[row][~mask[row]].any()
    assert len(found) == len(spans)
    assert found.lengths.tolist() == [len(one(clicks, span, max_length)) for span in spans]


@given(stored(), st.one_of(st.none(), st.integers(1, 5)), st.sets(st.integers(0, 5)))
@settings(max_examples=80)
def test_used_items_are_those_of_the_spans(data, max_length, chosen):
    clicks, spans = data
    rows = np.array([row % len(spans) for row in chosen], dtype=np.int64)
    used = Histories(clicks, spans, max_length).used_items(rows, NUM_ITEMS)
    wanted = {item for row in rows for item in one(clicks, spans[row], max_length)}
    assert used.shape == (NUM_ITEMS,) and set(np.flatnonzero(used)) == wanted


def test_whole_lifts_the_cap():
    clicks = np.arange(5, dtype=np.int32)
    capped = Histories(clicks, np.array([[0, 5]]), max_length=2)
    assert capped.padded(np.array([0]))[0].tolist() == [[3, 4]]
    assert capped.whole().padded(np.array([0]))[0].tolist() == [[0, 1, 2, 3, 4]]


def test_a_length_below_one_is_refused():
    with pytest.raises(ValueError, match=r"`history\.max_length` must be at least 1, got 0"):
        Histories(np.zeros(1, dtype=np.int32), np.array([[0, 1]]), max_length=0)
