"""From user events to impressions: the last like held out, or split by time, or as a column says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from legorec.data.layout import StoreError
from legorec.data.ragged import Ragged, offsets_of
from legorec.data.raw.times import seconds_of
from legorec.data.writing.writer import StoreWriter

Draw = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
SPLITS = ("train", "dev", "test")
DOUBLED = "rows that stand twice (same user, item and time)"


@dataclass(frozen=True)
class Events:
    """User events, in order of user, then time, then place in the file. Ids are rows."""

    user: np.ndarray
    item: np.ndarray
    liked: np.ndarray  # bool
    time: np.ndarray | None  # int64 or float64, as fine as it was given
    order: np.ndarray  # the place of each event in the input
    num_users: int
    num_items: int
    per_second: int = 1  # of ``time``

    @classmethod
    def sort(
        cls,
        user: np.ndarray,
        item: np.ndarray,
        liked: np.ndarray,
        time: np.ndarray | None,
        num_users: int,
        num_items: int,
        per_second: int = 1,
    ) -> Events:
        """Sort events; equal times keep the order of the file. Unknown ids (-1) are left out."""
        order = np.lexsort((user,) if time is None else (time, user))
        order = order[(user[order] >= 0) & (item[order] >= 0)]
        moment = None if time is None else time[order]
        size = (num_users, num_items)
        return cls(user[order], item[order], liked[order].astype(bool), moment, order, *size, per_second)

    def take(self, rows: np.ndarray) -> Events:
        """Some of the events, by place or as a mask, in the same order."""
        arrays = {name: getattr(self, name)[rows] for name in ("user", "item", "liked", "order")}
        return replace(self, time=None if self.time is None else self.time[rows], **arrays)

    def seconds(self, rows: np.ndarray) -> np.ndarray | None:
        """The times of some events as a store keeps them, in whole seconds."""
        return None if self.time is None else seconds_of(self.time[rows], self.per_second)

    @property
    def likes(self) -> Ragged:
        """The liked items of every user, in order."""
        counts = np.bincount(self.user[self.liked], minlength=self.num_users)
        return Ragged.from_lengths(self.item[self.liked], counts)

    @property
    def likes_before(self) -> np.ndarray:
        """The number of items that the user had liked before each event."""
        before = np.cumsum(self.liked) - self.liked
        counts = np.bincount(self.user[self.liked], minlength=self.num_users)
        return before - offsets_of(counts)[self.user]


def counted_once(writer: StoreWriter, events: Events, keep: bool, group: np.ndarray | None = None) -> Events:
    """The events without those that stand twice: equal in user, item, time, like and group.

    A file that was appended to itself has such, and the last click of a user is then in its own history. They
    are counted either way; without times a click that was made again cannot be told from one that stands
    twice, and all are kept.

    Args:
        keep: leave them in.
    """
    if events.time is None:
        return events
    keys = [events.liked, events.time, events.item, events.user]
    twice = stand_twice(*keys, *([] if group is None else [group[events.order]]))
    (writer.kept if keep else writer.dropped)(DOUBLED, int(twice.sum()))
    return events if keep else events.take(~twice)


def stand_twice(*keys: np.ndarray) -> np.ndarray:
    """(n,) True for rows that equal an earlier one in all keys."""
    order = np.lexsort(keys)  # stable, so that the first of equal rows comes first
    again = np.ones(max(0, len(order) - 1), dtype=bool)
    for key in keys:
        again &= key[order][1:] == key[order][:-1]
    twice = np.zeros(len(order), dtype=bool)
    twice[order[1:][again]] = True
    return twice


def without_repeats(events: Events) -> Events:
    """Keep the first of a user's consecutive clicks on the same item."""
    clicks = np.flatnonzero(events.liked)
    user, item = events.user[clicks], events.item[clicks]
    again = clicks[1:][(user[1:] == user[:-1]) & (item[1:] == item[:-1])]
    return events.take(np.delete(np.arange(len(events.user)), again))


def last_left_out(events: Events) -> np.ndarray:
    """The split of each like: a user's last is test (2), the one before it dev (1), earlier ones train (0).

    The first like has no history and is in no split (-1); it is part of the history of the others.
    """
    user, place = events.user[events.liked], events.likes_before[events.liked]
    left = events.likes.lengths[user] - place  # 1 for the last
    return np.where(place == 0, -1, np.clip(3 - left, 0, 2))


def users_divided(
    events: Events,
    shares: Sequence[float],
    lengths: tuple[int, int],
    num_users: int | None,
    seed: int,
) -> np.ndarray:
    """The split of each like where users are divided: a user's last like is in the split of the user.

    All others (-1) are the history of that one, so each user has one example (as in LLM-TRSR).

    Args:
        shares: of the users in train, dev and test.
        lengths: the shortest and the longest history of users who are taken.
        num_users: at most so many, drawn.

    Raises:
        StoreError: no user is left for a split that should have a share.
    """
    before = events.likes.lengths - 1
    fitting = np.flatnonzero((before >= max(1, lengths[0])) & (before <= lengths[1]))
    drawn = np.random.default_rng([seed, len(SPLITS)]).permutation(fitting)[:num_users]
    ends = np.round(np.cumsum(shares) * len(drawn)).astype(np.int64)
    split = np.full(events.num_users, -1, dtype=np.int64)
    split[drawn] = np.searchsorted(ends, np.arange(len(drawn)), side="right")
    for number, name in enumerate(SPLITS):
        if shares[number] > 0 and not (split == number).any():
            raise StoreError(
                f"no user is left for '{name}': {len(fitting):,} of {events.num_users:,} have a history of "
                f"{lengths[0]} to {lengths[1]} likes (--history_lengths)"
            )
    user, place = events.user[events.liked], events.likes_before[events.liked]
    return np.where(place == before[user], split[user], -1)


def liked_among_unmet(
    writer: StoreWriter,
    events: Events,
    part: np.ndarray,
    num_negatives: int,
    seed: int,
    draw: Draw | None = None,
) -> None:
    """Make every like an impression, with the likes before it as history.

    In dev and test it is placed among ``num_negatives`` items that the user never met, drawn uniformly;
    candidates are in order of their rows, so that the order reveals nothing. In train it is the only one.

    Args:
        part: of each like, 0, 1, 2 for train, dev, test; -1 is left out.
        draw: users (R,), a count and a generator -> the items (R, count) in place of uniform ones.
    """
    user, item = events.user[events.liked], events.item[events.liked]
    place = events.likes_before[events.liked]
    time = events.seconds(events.liked)
    writer.sequences(events.likes)
    for number, split in enumerate(SPLITS):
        rows = np.flatnonzero(part == number)
        target, labels = item[rows][:, None], np.ones((len(rows), 1), dtype=np.uint8)
        if number:
            rng = np.random.default_rng([seed, number])
            drawn = (draw or partial(draw_unmet, events))(user[rows], num_negatives, rng)
            target = np.concatenate([target, drawn], axis=1)
            order = np.argsort(target, axis=1)
            target, labels = np.take_along_axis(target, order, 1), (order == 0).astype(np.uint8)
        candidates = Ragged.from_lengths(target.reshape(-1), np.full(len(rows), target.shape[1]))
        moment = None if time is None else time[rows]
        starts = np.zeros(len(rows), np.int64)
        writer.windows(split, user[rows], starts, place[rows], candidates, labels.reshape(-1), moment)


def split_times(time: np.ndarray | None, shares: tuple[float, ...]) -> np.ndarray:
    """0, 1 or 2 (train, dev, test) for each time; equal times stay together.

    Raises:
        StoreError: there are no times, or a split that should have a share gets nothing.
    """
    if time is None or not len(time):
        raise StoreError("a split by time needs rows with a time")
    ordered = np.sort(time)
    ends = np.minimum(np.round(np.cumsum(shares[:2]) * len(time)).astype(np.int64), len(time) - 1)
    part = np.searchsorted(ordered[ends], time, side="right")
    if shares[2] == 0:
        part = np.minimum(part, 1)
    for number, split in enumerate(SPLITS):
        if shares[number] > 0 and not (part == number).any():
            raise StoreError(f"the split by time leaves '{split}' empty: too few different times")
    return part


def labelled_lists(
    writer: StoreWriter, events: Events, part: np.ndarray, group: np.ndarray | None = None
) -> None:
    """Make every event a candidate with its own label, in the split that ``part`` gives.

    Args:
        part: 0, 1, 2 for train, dev, test; anything else is left out.
        group: events of the same user and group form one list, with the history before the first of them;
            without groups every event is a list of its own.
    """
    writer.sequences(events.likes)
    before = events.likes_before
    for number, split in enumerate(SPLITS):
        chosen = np.flatnonzero(part == number)
        if not len(chosen):
            continue
        key = chosen if group is None else group[chosen]
        order = np.lexsort((chosen, key, events.user[chosen]))
        chosen, key = chosen[order], key[order]
        user = events.user[chosen]
        new = np.append(True, (key[1:] != key[:-1]) | (user[1:] != user[:-1]))
        first = chosen[new]
        lengths = np.diff(np.append(np.flatnonzero(new), len(chosen)))
        candidates = Ragged.from_lengths(events.item[chosen], lengths)
        labels = events.liked[chosen].astype(np.uint8)
        moment = events.seconds(first)
        starts = np.zeros(len(first), np.int64)
        writer.windows(split, events.user[first], starts, before[first], candidates, labels, moment)


def draw_unmet(events: Events, users: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Distinct items (R, count) that each user never met, uniformly drawn.

    Raises:
        StoreError: a user met too many items for that count.
    """
    num_items = events.num_items
    met = np.unique(events.user.astype(np.int64) * num_items + events.item)
    unmet = num_items - np.bincount(met // num_items, minlength=events.num_users)
    if len(users) and (least := int(unmet[users].min())) < count:
        raise StoreError(
            f"`num_negatives` must be at most {least}, a user has met all other items; got {count}"
        )
    drawn = np.zeros((len(users), count), dtype=np.int64)
    dense = unmet[users] < max(2 * count, num_items // 5)
    for row in np.flatnonzero(dense):  # few: users who met most of the catalogue
        start, stop = np.searchsorted(met, [users[row] * num_items, (users[row] + 1) * num_items])
        free = np.setdiff1d(np.arange(num_items), met[start:stop] % num_items, assume_unique=True)
        drawn[row] = rng.choice(free, count, replace=False)
    rows = np.flatnonzero(~dense)
    drawn[rows] = rng.integers(num_items, size=(len(rows), count))
    while len(rows):
        block = drawn[rows]
        wrong = _is_in(users[rows, None] * num_items + block, met) | _repeats(block)
        block[wrong] = rng.integers(num_items, size=int(wrong.sum()))
        drawn[rows] = block
        rows = rows[wrong.any(axis=1)]
    return drawn


def _is_in(keys: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    if not len(ordered):
        return np.zeros(keys.shape, dtype=bool)
    return ordered[np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)] == keys


def _repeats(block: np.ndarray) -> np.ndarray:
    """True where a value occurs earlier in its row."""
    order = np.argsort(block, axis=1, kind="stable")
    ordered = np.take_along_axis(block, order, 1)
    repeated = np.zeros(block.shape, dtype=bool)
    np.put_along_axis(repeated, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
    return repeated
