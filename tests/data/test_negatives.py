"""Negatives against what sets say may be drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legorec.data import negatives
from legorec.data.clicks import TrainingClicks
from legorec.data.histories import Histories
from legorec.data.negatives import NegativeSampler
from legorec.data.ragged import Ragged
from legorec.data.store import Interactions
from tests.support import small

NUM_ITEMS, NUM_USERS = 14, 3


@st.composite
def training(draw: st.DrawFn) -> TrainingClicks:
    """A few users with overlapping spans; impressions may show an item twice. Two items are never seen."""
    seen = st.integers(0, NUM_ITEMS - 3)
    clicks = [draw(st.lists(seen, max_size=5)) for _ in range(NUM_USERS)]
    starts = np.cumsum([0, *map(len, clicks)])
    spans, owners = [], []
    for user, mine in enumerate(clicks):
        for _ in range(2):
            start, stop = sorted(draw(st.tuples(*[st.integers(0, len(mine))] * 2)))
            spans.append([starts[user] + start, starts[user] + stop] if stop > start else [0, 0])
            owners.append(user)
    shown = draw(st.lists(st.lists(st.tuples(seen, st.integers(0, 1)), max_size=7), min_size=1, max_size=5))
    span = [draw(st.integers(0, len(spans) - 1)) for _ in shown]
    candidates = Ragged.from_lists([[item for item, _ in row] for row in shown])
    labels = np.array([label for row in shown for _, label in row], dtype=np.uint8)
    user = np.array([owners[each] for each in span], dtype=np.int32)
    flat = np.array([item for mine in clicks for item in mine], dtype=np.int32)
    found = Interactions(user, np.array(span, dtype=np.int32), candidates, labels, None, None)
    return TrainingClicks(found, Histories(flat, np.array(spans, dtype=np.int64), max_length=1), NUM_ITEMS)


def clicked_by(found: TrainingClicks) -> dict[int, set[int]]:
    """What each user is known to have clicked, read one by one."""
    known: dict[int, set[int]] = {user: set() for user in range(NUM_USERS)}
    whole = found.histories.whole()
    labels = Ragged(found.interactions.labels, found.interactions.candidates.offsets)
    for row, user in enumerate(found.interactions.user.tolist()):
        start, stop = whole.spans[found.interactions.span[row]]
        known[user] |= set(whole.clicks[start:stop].tolist())
        known[user] |= set(found.interactions.candidates[row][labels[row] == 1].tolist())
    return known


def seen_in(found: TrainingClicks) -> set[int]:
    history = set().union(*(clicked_by(found).values()))
    return history | set(found.interactions.candidates.values.tolist())


@given(training())
@settings(max_examples=60)
def test_known_clicks_are_histories_and_clicked_candidates(found):
    wanted = clicked_by(found)
    users, items = np.divmod(np.arange(NUM_USERS * NUM_ITEMS), NUM_ITEMS)
    inside = found.known.contains(users, items)
    assert [bool(each) for each in inside] == [
        item in wanted[user] for user, item in zip(users.tolist(), items.tolist(), strict=True)
    ]
    for user in range(NUM_USERS):
        assert found.known.of_user(user).tolist() == sorted(wanted[user])
    assert found.known.counts().tolist() == [
        sum(item in mine for mine in wanted.values()) for item in range(NUM_ITEMS)
    ]
    assert set(found.eligible.tolist()) == seen_in(found)


@pytest.mark.parametrize("rounds", [50, 1, 0])
@given(found=training(), num_negatives=st.integers(1, 6), seed=st.integers(0, 9))
@settings(max_examples=60)
def test_what_is_drawn(rounds, found, num_negatives, seed):
    """Skipped items first, then items seen in training; never a known click, never one twice; by any path."""
    sampler = NegativeSampler(found.interactions, found.known, found.eligible, num_negatives)
    impressions = np.arange(len(found.interactions))[::-1].copy()
    users = found.interactions.user[impressions]
    known, seen = clicked_by(found), seen_in(found)

    def sample() -> np.ndarray:
        return sampler.sample(impressions, users, np.random.default_rng(seed))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(negatives, "_MAX_ROUNDS", rounds)
        if any(len(seen - known[user]) < num_negatives for user in users.tolist()):
            with pytest.raises(ValueError, match=rf"`num_negatives` \({num_negatives}\) cannot be drawn"):
                sample()
            return
        drawn = sample()
        assert np.array_equal(drawn, sample())
    assert drawn.shape == (len(impressions), num_negatives)
    labels = Ragged(found.interactions.labels, found.interactions.candidates.offsets)
    for row, impression in enumerate(impressions):
        mine = known[int(users[row])]
        shown = found.interactions.candidates[impression][labels[impression] == 0]
        skipped = set(shown.tolist()) - mine
        got = drawn[row].tolist()
        assert len(set(got)) == num_negatives
        assert not set(got) & mine and set(got) <= seen
        assert set(got[: len(skipped)]) <= skipped
        assert len(skipped) > num_negatives or set(got[: len(skipped)]) == skipped


def sampler_of(shown: list[int], labels: list[int], num_negatives: int, others: list[int]) -> NegativeSampler:
    """Impression 0 of user 0 shows ``shown``; impression 1 of user 1 shows ``others``, unclicked."""
    found = Interactions(
        np.array([0, 1], dtype=np.int32),
        np.array([0, 0], dtype=np.int32),
        Ragged.from_lists([shown, others]),
        np.array(labels + [0] * len(others), dtype=np.uint8),
        None,
        None,
    )
    clicks = TrainingClicks(found, Histories(np.zeros(0, dtype=np.int32), np.array([[0, 0]])), NUM_ITEMS)
    return NegativeSampler(found, clicks.known, clicks.eligible, num_negatives)


def shares(sampler: NegativeSampler, size: int = 4000) -> np.ndarray:
    """How often each item is drawn for impression 0, as a share of the rows."""
    zeros = np.zeros(size, dtype=np.int64)
    drawn = sampler.sample(zeros, zeros, np.random.default_rng(0))
    return np.bincount(drawn.reshape(-1), minlength=NUM_ITEMS) / size


@pytest.mark.parametrize("shown", [[3, 1, 2, 4, 5], [3, 1, 2, 4, 5, 5, 5, 1]])
def test_skipped_items_are_equally_likely(shown):
    found = shares(sampler_of(shown, [1] + [0] * (len(shown) - 1), 2, []))
    assert np.allclose(found[[1, 2, 4, 5]], 0.5, atol=0.03) and found.sum() == pytest.approx(2)


@pytest.mark.parametrize("rounds", [50, 0])
def test_filled_items_are_equally_likely(rounds, monkeypatch):
    monkeypatch.setattr(negatives, "_MAX_ROUNDS", rounds)
    found = shares(sampler_of([3, 1], [1, 0], 3, [4, 5, 6, 7]))
    assert found[1] == 1 and found[3] == 0
    assert np.allclose(found[4:8], 0.5, atol=0.03) and found.sum() == pytest.approx(3)


def test_a_clicked_item_that_was_also_skipped_is_no_negative():
    assert shares(sampler_of([3, 3, 1], [1, 0, 0], 1, []))[1] == 1


def test_the_error_counts_what_is_left():
    message = (
        r"`num_negatives` \(4\) cannot be drawn for user row 0: of the 5 items seen in training, 3 are left "
        "that the user did not click; set a lower `num_negatives`"
    )
    with pytest.raises(ValueError, match=message):
        shares(sampler_of([3, 2, 1], [1, 1, 0], 4, [4, 5]), size=1)


def test_no_negatives_and_no_rows():
    sampler = sampler_of([3, 1], [1, 0], 0, [])
    none = np.zeros(0, dtype=np.int64)
    assert sampler.sample(np.array([0]), np.array([0]), np.random.default_rng(0)).shape == (1, 0)
    assert sampler_of([3, 1], [1, 0], 2, []).sample(none, none, np.random.default_rng(0)).shape == (0, 2)


def test_items_of_later_splits_are_never_drawn():
    found = small.training_clicks()
    rest = np.setdiff1d(np.arange(small.NUM_ITEMS), found.interactions.candidates.values[:40])
    sampler = NegativeSampler(found.interactions, found.known, rest, 5)
    rows = np.arange(len(found.interactions))
    drawn = sampler.sample(rows, found.interactions.user, np.random.default_rng(0))
    shown = np.isin(drawn, found.interactions.candidates.values)
    assert (np.isin(drawn, rest) | shown).all() and np.isin(drawn, rest).any()
