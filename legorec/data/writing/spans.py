"""Histories as spans of one flat array, so that equal and growing histories are stored once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from legorec.data.layout import StoreError
from legorec.data.ragged import Ragged, offsets_of
from legorec.data.writing.arrays import BLOCK, GrowingArray, GrowingRagged


class Windows:
    """The history of each of some impressions: ``start`` to ``stop`` within a piece; kept in files."""

    def __init__(self, folder: Path) -> None:
        self._parts = [GrowingArray(folder / name, np.int32) for name in ("piece", "start", "stop")]

    def append(self, piece: np.ndarray, start: np.ndarray, stop: np.ndarray) -> None:
        """Add a chunk of impressions."""
        for part, values in zip(self._parts, (piece, start, stop), strict=True):
            part.append(values)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Piece, start and stop, block by block."""
        return zip(*(part.blocks() for part in self._parts), strict=True)


class Layout:
    """Where the histories of a store lie in its flat array, and its spans.

    Args:
        users: the user of each piece.
        places: the start of each piece.
        length: of the flat array.
        windows: of all impressions.
    """

    def __init__(
        self, users: np.ndarray, places: np.ndarray, length: int, windows: Sequence[Windows]
    ) -> None:
        self._users, self._places, self._length = users, places, length
        self._keys = _distinct(self._keys_of(*block) for part in windows for block in part.blocks())

    @property
    def places(self) -> np.ndarray:
        """(P,) the start of each piece in the flat array."""
        return self._places

    @property
    def spans(self) -> np.ndarray:
        """(S, 2) int64, start and stop in the flat array; distinct by user, start and stop."""
        spans = np.stack(np.divmod(self._keys, self._length + 1), axis=1)
        spans[self._keys < 0] = 0
        return spans

    def spans_of(self, windows: Windows) -> Iterator[np.ndarray]:
        """The span (int32) of each impression, block by block."""
        for block in windows.blocks():
            yield np.searchsorted(self._keys, self._keys_of(*block)).astype(np.int32)

    def _keys_of(self, piece: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        # One number per (user, start, stop). A place belongs to one user, so only an empty history needs the
        # user in its number.
        begin, end = self._places[piece] + start, self._places[piece] + stop
        user = self._users[piece].astype(np.int64)
        return np.where(begin == end, -1 - user, begin * (self._length + 1) + end)


class HistoryPool:
    """Collects histories while a store is written.

    A piece is a list of clicks of one user; an impression holds (piece, start, stop). ``pack`` stores a piece
    that is the beginning of another one of the same user only once, and keeps only clicks that some
    impression can see.

    Args:
        folder: for the files that hold the clicks until then.
    """

    def __init__(self, folder: Path) -> None:
        self._users: list[np.ndarray] = []
        self._clicks = GrowingRagged(folder / "pieces", np.int32)

    def __len__(self) -> int:
        return len(self._clicks)

    def append(self, users: np.ndarray, clicks: Ragged) -> None:
        """Add one piece per row."""
        self._users.append(users.astype(np.int32))
        self._clicks.append(clicks)

    def add(self, users: np.ndarray, clicks: Ragged) -> np.ndarray:
        """Add one history per row; returns the piece of each. Equal histories of a user become one piece."""
        order, new = _equal_rows(users, clicks)
        first = order[new]
        pieces = np.empty(len(users), dtype=np.int64)
        pieces[order] = len(self) + np.cumsum(new) - 1
        self.append(users[first], clicks.take(first))
        return pieces

    def pack(self, windows: Sequence[Windows], flat: GrowingArray) -> Layout:
        """Lay out the pieces that impressions see.

        Args:
            windows: of all impressions.
            flat: receives the clicks (int32), user by user.
        """
        users = np.concatenate(self._users) if self._users else np.empty(0, np.int32)
        seen = np.zeros(len(users), dtype=np.int32)
        for part in windows:
            for piece, _, stop in part.blocks():
                np.maximum.at(seen, piece, stop)
        offsets = self._clicks.offsets.mapped()
        clicks = Ragged(self._clicks.values.mapped(), offsets)
        order = np.argsort(users, kind="stable")
        places = np.empty(len(users), dtype=np.int64)
        for some in _whole_users(users[order], seen[order]):
            rows = order[some]
            starts = offsets[rows]
            begins, values = _overlay(users[rows], clicks.slices(rows, starts, starts + seen[rows]))
            places[rows] = len(flat) + begins
            flat.append(values)
        return Layout(users, places, len(flat), windows)


def laid_out(values: Ragged, layout: Layout, length: int) -> np.ndarray:
    """(length,) what stands beside each click, laid out as the clicks are.

    Args:
        values: one row per user, as long as the user's clicks.

    Raises:
        StoreError: a user has more than one piece, so that clicks of equal items may be stored once.
    """
    if len(values) != len(layout.places):
        raise StoreError(
            f"marks need one sequence of clicks per user and no other histories, got {len(values):,} rows of "
            f"marks and {len(layout.places):,} histories"
        )
    sizes = np.diff(np.append(layout.places, length))  # clicks that no impression can see are left out
    starts = values.offsets[:-1]
    return values.slices(np.arange(len(values)), starts, starts + sizes).values


def held(clicks: np.ndarray, spans: np.ndarray, items: np.ndarray) -> np.ndarray:
    """(n,) True where a span holds an item.

    Args:
        clicks: the flat array of item rows; ``BLOCK`` of them and one user's history are in memory at a time.
        spans: (n, 2) start and stop in ``clicks``.
        items: (n,) the item that is looked for in each.
    """
    result = np.zeros(len(items), dtype=bool)
    order = np.argsort(spans[:, 0], kind="stable")
    starts, done = spans[order, 0], 0
    while done < len(order):
        begin = int(starts[done])
        stop = int(np.searchsorted(starts, begin + BLOCK))
        rows = order[done:stop]
        block = np.asarray(clicks[begin : int(spans[rows, 1].max())])
        # One number per (item, place), so that the places of an item lie together, in order.
        width = len(block) + 1
        keys = np.sort(block.astype(np.int64) * width + np.arange(len(block)))
        first, last = (
            np.searchsorted(keys, items[rows].astype(np.int64) * width + spans[rows, side] - begin)
            for side in (0, 1)
        )
        result[rows] = last > first
        done = stop
    return result


def _whole_users(users: np.ndarray, sizes: np.ndarray) -> Iterator[slice]:
    """Rows, sorted by user, in parts of whole users with at most ``BLOCK`` clicks, or of a single user."""
    firsts = np.flatnonzero(np.append(True, users[1:] != users[:-1])) if len(users) else np.empty(0, np.int64)
    bounds = np.append(firsts, len(users))
    before = offsets_of(sizes)[bounds] + bounds  # an empty history takes room too
    part = 0
    while part < len(firsts):
        stop = max(part + 1, int(np.searchsorted(before, before[part] + BLOCK, side="right")) - 1)
        yield slice(bounds[part], bounds[stop])
        part = stop


def _distinct(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """The distinct values (int64) of all blocks, in ascending order."""
    found, size = [np.empty(0, np.int64)], 0
    for block in blocks:
        found.append(np.unique(block))
        size += len(found[-1])
        if size > max(len(found[0]), BLOCK):  # so that every value is sorted only a few times
            found, size = [np.unique(np.concatenate(found))], 0
    return np.unique(np.concatenate(found))


def _overlay(users: np.ndarray, clicks: Ragged) -> tuple[np.ndarray, np.ndarray]:
    """The start of each piece in a flat array where a piece shares the clicks of a longer one it begins."""
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
    """Where a piece really is the beginning of the next one: equal hashes only suggest it."""
    which = np.flatnonzero(candidates)
    mine = clicks.take(short[which])
    starts = clicks.offsets[:-1][long[which]]
    theirs = clicks.slices(long[which], starts, starts + mine.lengths)
    result = candidates.copy()
    result[which[np.unique(mine.rows[mine.values != theirs.values])]] = False
    return result


def _equal_rows(users: np.ndarray, clicks: Ragged) -> tuple[np.ndarray, np.ndarray]:
    """An order that brings equal rows together, and where in it a new row begins."""
    sums = _running_hash(clicks)
    whole = sums[clicks.offsets[1:]] - sums[clicks.offsets[:-1]]
    lengths = clicks.lengths
    order = np.lexsort((np.arange(len(users)), whole, lengths, users))
    short, long = order[:-1], order[1:]
    same = (users[short] == users[long]) & (lengths[short] == lengths[long]) & (whole[short] == whole[long])
    same = _opens(clicks, short, long, same)
    return order, np.append(True, ~same) if len(order) else np.empty(0, bool)


def _running_hash(clicks: Ragged) -> np.ndarray:
    """Running sums of a hash of (value, place in row): the difference of two sums is the hash of a row's
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
