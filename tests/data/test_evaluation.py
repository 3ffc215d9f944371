"""Whole impressions: pages that cover each once, batches equal to what is stored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legorec.data.evaluation import Impressions
from legorec.data.histories import Histories
from legorec.data.ragged import Ragged
from legorec.data.store import Interactions
from tests.support import small


def impressions(lengths: list[int]) -> Impressions:
    count = len(lengths)
    candidates = Ragged.from_lengths(np.arange(sum(lengths), dtype=np.int32) % 30, lengths)
    labels = (np.arange(sum(lengths)) % 3 == 0).astype(np.uint8)
    user = (np.arange(count, dtype=np.int32) * 7) % 4
    found = Interactions(user, user, candidates, labels, None, None)
    stored = Histories(np.arange(10, dtype=np.int32), np.array([[0, 0], [0, 2], [2, 3], [3, 10]]))
    return Impressions(found, stored, 30)


@given(st.lists(st.integers(0, 12), max_size=25), st.integers(1, 40), st.randoms(use_true_random=False))
@settings(max_examples=80)
def test_pages_hold_each_row_once_and_respect_the_bound(lengths, max_cells, random):
    data = impressions(lengths)
    rows = random.sample(range(len(lengths)), k=random.randint(0, len(lengths)))
    pages = list(data.pages(np.array(rows, dtype=np.int64), max_cells))
    assert sorted(row for page in pages for row in page.tolist()) == sorted(rows)
    for page in pages:
        longest = max(lengths[row] for row in page)
        assert len(page) == 1 or len(page) * longest <= max_cells
    longest_of = [max(lengths[row] for row in page) for page in pages]
    assert longest_of == sorted(longest_of)


def test_pages_are_no_smaller_than_need_be():
    data = impressions([2] * 10 + [5] * 4)
    sizes = [len(page) for page in data.pages(np.arange(14), 10)]
    assert sizes == [5, 5, 2, 2]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=10), st.lists(st.integers(0, 9), max_size=12))
@settings(max_examples=60)
def test_a_batch_holds_what_is_stored(lengths, chosen):
    data = impressions(lengths)
    rows = np.array([row % len(lengths) for row in chosen], dtype=np.int64)
    batch, place = data.batch(rows, number=4)
    found, offsets = data.interactions, data.interactions.candidates.offsets
    mask = batch.candidate_mask.numpy()
    assert batch.number == 4 and batch.user.tolist() == found.user[rows].tolist()
    assert batch.group.tolist() == rows.tolist() and batch.span.tolist() == found.span[rows].tolist()
    for row, impression in enumerate(rows):
        mine = mask[row]
        stored = np.arange(offsets[impression], offsets[impression + 1])
        assert place[row][mine].tolist() == stored.tolist() and mine.sum() == lengths[impression]
        assert batch.items[batch.candidates[row][mine]].tolist() == found.candidates.values[stored].tolist()
        assert batch.labels[row].numpy()[mine].tolist() == found.labels[stored].tolist()
        assert not batch.labels[row].numpy()[~mine].any()
        clicked = batch.items[batch.history[row][batch.history_mask[row]]].tolist()
        start, stop = data.histories.spans[found.span[impression]]
        assert clicked == data.histories.clicks[start:stop].tolist()


@pytest.mark.parametrize("group_by", ["impression", "user"])
def test_groups_stand_beside_candidates(group_by):
    found, stored = small.interactions()
    data = Impressions(found, stored, small.NUM_ITEMS, group_by)
    owner = range(len(data)) if group_by == "impression" else found.user.tolist()
    wanted = [name for name, size in zip(owner, found.candidates.lengths, strict=True) for _ in range(size)]
    assert data.group.tolist() == wanted and len(data) == len(found)
    batch, _ = data.batch(np.arange(len(data)))
    assert batch.group.tolist() == list(owner)


def test_another_group_is_refused():
    found, stored = small.interactions()
    with pytest.raises(ValueError, match="`group_by` must be 'impression' or 'user', got 'session'"):
        Impressions(found, stored, small.NUM_ITEMS, "session")
