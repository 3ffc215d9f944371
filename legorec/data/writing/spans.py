"""Histories as spans of one flat array, so that equal and growing histories are stored once."""

from __future__ import annotations

import numpy as np

from legorec.data.ragged import Ragged, offsets_of


class HistoryPool:
    """Collects histories while a store is written.

    A piece is a list of clicks of one user; an impression holds (piece, start, stop). ``pack`` lays pieces of
    one user that continue each other on top of one another and keeps only what some impression can see.
    """

    def __init__(self) -> None:
        self._users: list[np.ndarray] = []
        self._pieces: list[Ragged] = []
        self._count = 0

    def add(self, users: np.ndarray, clicks: Ragged) -> np.ndarray:
        """Add one history per row; returns the piece of each. Equal histories of a user become one piece."""
        order, new = _equal_rows(users, clicks)
        first = order[new]
        pieces = np.empty(len(users), dtype=np.int64)
        pieces[order] = self._count + np.cumsum(new) - 1
        self._users.append(users[first].astype(np.int64))
        self._pieces.append(clicks.take(first))
        self._count += len(first)
        return pieces

    def pack(
        self, pieces: np.ndarray, starts: np.ndarray, stops: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lay out the pieces that impressions see.

        Args:
            pieces: of each impression; with ``starts`` and ``stops`` within the piece.
        Returns: clicks (C,) int32; spans (S, 2) int64, distinct by user, start and stop; the span of each
            impression (I,) int32.
        """
        users = np.concatenate(self._users) if self._users else np.empty(0, np.int64)
        clicks = Ragged.concatenate(self._pieces)
        seen = np.zeros(len(clicks), dtype=np.int64)
        np.maximum.at(seen, pieces, stops)
        clicks = clicks.slices(np.arange(len(clicks)), clicks.offsets[:-1], clicks.offsets[:-1] + seen)
        places, flat = _overlay(users, clicks)
        begin, end = places[pieces] + starts, places[pieces] + stops
        # One number per (user, start, stop): a place belongs to one user, only the empty history needs the
        # user.
        empty = begin == end
        key = np.where(empty, -1 - users[pieces], begin * (len(flat) + 1) + end)
        _, first, span = np.unique(key, return_index=True, return_inverse=True)
        spans = np.where(empty[first, None], 0, np.stack([begin, end], axis=1)[first])
        return flat.astype(np.int32), spans.astype(np.int64).reshape(-1, 2), span.astype(np.int32)


def _overlay(users: np.ndarray, clicks: Ragged) -> tuple[np.ndarray, np.ndarray]:
    """Where each piece begins in a flat array in which a piece lies on the next longer one that it opens."""
    lengths = clicks.lengths
    sums = _running_hash(clicks)
    whole = sums[clicks.offsets[1:]] - sums[clicks.offsets[:-1]]
    order = np.lexsort((whole, lengths, users))
    short, long = order[:-1], order[1:]
    opening = sums[clicks.offsets[:-1][long] + np.minimum(lengths[short], lengths[long])]
    linked = (users[short] == users[long]) & (opening - sums[clicks.offsets[:-1][long]] == whole[short])
    linked &= _opens(clicks, short, long, linked)
    is_root = np.append(~linked, True) if len(order) else np.empty(0, bool)
    roots = order[is_root]
    root_places = offsets_of(lengths[roots])[:-1]
    # A piece belongs to the first root at or after it in the order.
    root_of = np.cumsum(is_root) - is_root
    places = np.empty(len(users), dtype=np.int64)
    places[order] = root_places[root_of]
    return places, clicks.take(roots).values


def _opens(clicks: Ragged, short: np.ndarray, long: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Where a piece truly is the beginning of the next one: the hash only proposes."""
    which = np.flatnonzero(candidates)
    mine = clicks.take(short[which])
    starts = clicks.offsets[:-1][long[which]]
    theirs = clicks.slices(long[which], starts, starts + mine.lengths)
    result = candidates.copy()
    result[which[np.unique(mine.rows[mine.values != theirs.values])]] = False
    return result


def _equal_rows(users: np.ndarray, clicks: Ragged) -> tuple[np.ndarray, np.ndarray]:
    """An order that brings equal rows together, and where in it a new one begins."""
    sums = _running_hash(clicks)
    whole = sums[clicks.offsets[1:]] - sums[clicks.offsets[:-1]]
    lengths = clicks.lengths
    order = np.lexsort((np.arange(len(users)), whole, lengths, users))
    short, long = order[:-1], order[1:]
    same = (users[short] == users[long]) & (lengths[short] == lengths[long]) & (whole[short] == whole[long])
    same = _opens(clicks, short, long, same)
    return order, np.append(True, ~same) if len(order) else np.empty(0, bool)


def _running_hash(clicks: Ragged) -> np.ndarray:
    """Running sums of a mix of (value, place in row): a difference of two is the hash of a row's
    beginning."""
    mixed = clicks.values.astype(np.uint64) << np.uint64(32)
    mixed += clicks.places.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    sums = np.zeros(len(mixed) + 1, dtype=np.uint64)
    np.cumsum(mixed, out=sums[1:])
    return sums
