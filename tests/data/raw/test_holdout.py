"""What users did, in order; the last like left out; splits by time; items that a user never met."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legorec.data.ragged import Ragged
from legorec.data.raw.holdout import (
    DOUBLED,
    Events,
    counted_once,
    draw_unmet,
    labelled_lists,
    last_left_out,
    liked_among_unmet,
    split_times,
)
from legorec.data.store import StoreError

NUM_USERS, NUM_ITEMS = 4, 9
ROWS = st.lists(
    st.tuples(
        st.integers(-1, NUM_USERS - 1), st.integers(-1, NUM_ITEMS - 1), st.booleans(), st.integers(0, 5)
    ),
    max_size=25,
)


class Taken:
    """Stands in for a writer, and keeps the impressions as plain lists."""

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[Any, ...]]] = {}

    def sequences(self, likes: Ragged) -> None:
        self.likes = likes

    def windows(self, split, user, start, stop, candidates, labels, time) -> None:
        of_each = Ragged(labels, candidates.offsets)
        assert not start.any()
        self.rows[split] = [
            (int(user[row]), self.likes[user[row]][: stop[row]].tolist(), candidates[row].tolist(),
             of_each[row].tolist(), None if time is None else int(time[row]))
            for row in range(len(user))
        ]  # fmt: skip


def events(rows: list[tuple[int, int, bool, int]], timed: bool = True) -> Events:
    columns = [np.array([row[place] for row in rows], dtype=np.int64) for place in range(4)]
    time = columns[3] if timed else None
    return Events.sort(columns[0], columns[1], columns[2], time, NUM_USERS, NUM_ITEMS)


def in_order(rows: list[tuple[int, int, bool, int]], timed: bool = True) -> list[tuple[int, int, bool, int]]:
    known = [row for row in rows if row[0] >= 0 and row[1] >= 0]
    return sorted(known, key=lambda row: (row[0], row[3] if timed else 0))  # stable: ties as in the file


def liked_before(ordered: list[tuple[int, int, bool, int]], place: int) -> list[int]:
    user = ordered[place][0]
    return [item for who, item, liked, _ in ordered[:place] if who == user and liked]


@given(ROWS, st.booleans())
def test_events_are_sorted_and_count_what_was_liked_before(rows, timed):
    found, ordered = events(rows, timed), in_order(rows, timed)
    assert list(zip(found.user, found.item, found.liked, strict=True)) == [row[:3] for row in ordered]
    assert [rows[place][:3] for place in found.order] == [row[:3] for row in ordered]
    assert found.time is None or found.time.tolist() == [row[3] for row in ordered]
    before = [liked_before(ordered, place) for place in range(len(ordered))]
    assert found.likes_before.tolist() == [len(each) for each in before]
    likes = [[item for who, item, liked, _ in ordered if who == user and liked] for user in range(NUM_USERS)]
    assert [row.tolist() for row in found.likes] == likes


@given(ROWS)
def test_the_last_like_is_test_and_the_first_is_nowhere(rows):
    found, ordered = events(rows), in_order(rows)
    part = iter(last_left_out(found).tolist())
    for user in range(NUM_USERS):
        count = sum(liked for who, _, liked, _ in ordered if who == user)
        expected = ([-1] + [0] * (count - 3) + [1, 2])[:count] if count > 2 else [-1, 2][:count]
        assert [next(part) for _ in range(count)] == expected
    assert not list(part)


@settings(max_examples=40)
@given(ROWS, st.integers(0, 3))
def test_a_like_stands_among_items_that_its_user_never_met(rows, count):
    found, ordered = events(rows), in_order(rows)
    met = {user: {item for who, item, _, _ in ordered if who == user} for user in range(NUM_USERS)}
    if any(len(each) > NUM_ITEMS - count for each in met.values()):
        return
    writer = Taken()
    liked_among_unmet(writer, found, last_left_out(found), count, seed=1)
    likes = [place for place, row in enumerate(ordered) if row[2]]
    for number, split in enumerate(("train", "dev", "test")):
        wanted = [place for place, part in zip(likes, last_left_out(found), strict=True) if part == number]
        for place, (user, history, shown, labels, time) in zip(wanted, writer.rows[split], strict=True):
            who, item, _, moment = ordered[place]
            assert (user, history, time) == (who, liked_before(ordered, place), moment)
            assert [each for each, label in zip(shown, labels, strict=True) if label] == [item]
            assert shown == sorted(set(shown)) and len(shown) == 1 + (count if number else 0)
            assert not (set(shown) - {item}) & met[user]
    again = Taken()
    liked_among_unmet(again, found, last_left_out(found), count, seed=1)
    assert again.rows == writer.rows


@given(ROWS, st.booleans())
def test_events_of_one_list_share_the_history_before_the_first(rows, grouped):
    found, ordered = events(rows), in_order(rows)
    part = np.array([row[1] % 4 for row in ordered])  # 3 is in no split
    group = np.array([row[3] // 2 for row in ordered]) if grouped else None
    writer = Taken()
    labelled_lists(writer, found, part, group)
    for number, split in enumerate(("train", "dev", "test")):
        lists: dict[tuple[int, int], list[int]] = {}
        for place in np.flatnonzero(part == number).tolist():
            lists.setdefault((ordered[place][0], place if group is None else int(group[place])), []).append(
                place
            )
        expected = [
            (user, liked_before(ordered, places[0]), [ordered[each][1] for each in places],
             [int(ordered[each][2]) for each in places], ordered[places[0]][3])
            for (user, _), places in sorted(lists.items())
        ]  # fmt: skip
        assert writer.rows.get(split, []) == expected


def test_every_unmet_item_is_drawn_as_often_as_any_other():
    found = events([(0, item, True, 0) for item in (0, 1, 2)] + [(1, item, False, 0) for item in range(7)])
    for user, unmet in ((0, range(3, 9)), (1, range(7, 9))):
        drawn = draw_unmet(found, np.full(3000, user), 2, np.random.default_rng(0))
        assert all(len(set(row)) == 2 for row in drawn.tolist())
        counts = np.bincount(drawn.reshape(-1), minlength=NUM_ITEMS)
        assert set(np.flatnonzero(counts)) == set(unmet)
        assert counts[list(unmet)] / 3000 == pytest.approx(2 / len(unmet), abs=0.05)


def test_more_items_than_a_user_left_are_refused():
    found = events([(0, item, True, 0) for item in range(7)])
    with pytest.raises(StoreError, match="`num_negatives` must be at most 2, .*; got 3"):
        draw_unmet(found, np.array([0]), 3, np.random.default_rng(0))


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=30), st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.5, 0.0)])
)
def test_splits_by_time_follow_each_other_and_keep_equal_moments_together(times, shares):
    moments = np.array(times)
    try:
        part = split_times(moments, shares)
    except StoreError as problem:
        assert "leaves '" in str(problem) and "too few different times" in str(problem)
        return
    order = np.argsort(moments, kind="stable")
    assert (np.diff(part[order]) >= 0).all()
    assert all(len(set(part[moments == moment].tolist())) == 1 for moment in set(times))
    assert {number for number, share in enumerate(shares) if share} == set(part.tolist())


def test_shares_are_met_where_times_differ():
    part = split_times(np.random.default_rng(0).permutation(1000), (0.7, 0.2, 0.1))
    assert np.bincount(part).tolist() == [700, 200, 100]
    for missing in (None, np.zeros(0)):
        with pytest.raises(StoreError, match="a split by time needs rows with a time"):
            split_times(missing, (0.7, 0.2, 0.1))


class Counted(Taken):
    """A writer that keeps what it is told to count."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str, int]] = []

    def dropped(self, what: str, count: int) -> None:
        self.told.append(("dropped", what, count))

    def kept(self, what: str, count: int) -> None:
        self.told.append(("kept", what, count))


@given(ROWS, st.booleans(), st.booleans())
def test_rows_that_stand_twice_are_left_out_or_kept_and_counted(rows, keep, grouped):
    found, writer = events(rows), Counted()
    group = np.array([place % 2 for place in range(len(rows))]) if grouped else None
    left = counted_once(writer, found, keep, group)
    seen, first = set(), []
    for place in found.order.tolist():
        key = (rows[place], place % 2 if grouped else 0)
        first += [place] * (key not in seen)
        seen.add(key)
    assert left.order.tolist() == (found.order.tolist() if keep else first)
    assert writer.told == [("kept" if keep else "dropped", DOUBLED, len(found.order) - len(first))]
    untimed = events(rows, timed=False)
    assert counted_once(writer, untimed, keep) is untimed, "a click may be made again"


def test_moments_within_a_second_are_in_order_and_apart():
    """What is stored are seconds; sorting and splits see what is finer."""
    for per_second, unit in ((1, 0.1), (1000, 100), (10**9, 10**8)):
        start = 1_500_000_000 * per_second
        times = np.array([start + place * unit for place in (3, 0, 1, 2)])
        users, ones = np.zeros(4, np.int64), np.ones(4, bool)
        found = Events.sort(users, np.arange(4), ones, times, 1, 4, per_second)
        assert found.item.tolist() == [1, 2, 3, 0]
        assert found.seconds(np.arange(4)).tolist() == [1_500_000_000] * 4
        assert split_times(found.time, (0.5, 0.25, 0.25)).tolist() == [0, 0, 1, 2]
