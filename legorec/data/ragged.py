"""Rows of different lengths, packed end to end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from legorec.nn.row_places import row_places

BLOCK = 1 << 22  # values


class Ragged:
    """Rows packed into one array of values and the offsets between them.

    Nothing is copied, so both arrays may be mapped files.

    Args:
        values: the values of all rows, in order.
        offsets: int64, one more than the number of rows, from 0 to ``len(values)``.
    """

    __slots__ = ("offsets", "values")

    def __init__(self, values: np.ndarray, offsets: np.ndarray) -> None:
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(values):
            raise ValueError(f"`offsets` must run from 0 to the number of values ({len(values)})")
        self.values = values
        self.offsets = offsets

    @classmethod
    def from_lengths(cls, values: np.ndarray, lengths: np.ndarray | Sequence[int]) -> Ragged:
        """Rows of the given lengths."""
        return cls(values, offsets_of(np.asarray(lengths, dtype=np.int64)))

    @classmethod
    def from_lists(cls, rows: Iterable[Sequence], dtype: type = np.int32) -> Ragged:
        """Rows from Python lists; for small data and tests."""
        arrays: list[np.ndarray] = [np.asarray(row, dtype=dtype) for row in rows]
        values = np.concatenate(arrays) if arrays else np.empty(0, dtype=dtype)
        return cls.from_lengths(values, [len(row) for row in arrays])

    @classmethod
    def concatenate(cls, parts: Sequence[Ragged], dtype: type = np.int32) -> Ragged:
        """The rows of all parts, in order."""
        if not parts:
            return cls(np.empty(0, dtype=dtype), np.zeros(1, dtype=np.int64))
        lengths = np.concatenate([part.lengths for part in parts])
        return cls.from_lengths(np.concatenate([part.values for part in parts]), lengths)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        row %= len(self)
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ragged):
            return NotImplemented
        return np.array_equal(self.offsets, other.offsets) and np.array_equal(self.values, other.values)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Ragged({len(self):,} rows, {len(self.values):,} values, {self.values.dtype})"

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int64, the number of values in each row."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> np.ndarray:
        """The row of each value."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def places(self) -> np.ndarray:
        """The place of each value within its row."""
        return np.arange(len(self.values)) - np.repeat(self.offsets[:-1], self.lengths)

    def take(self, rows: np.ndarray | Sequence[int]) -> Ragged:
        """Some rows, in the given order; a row may be named several times."""
        rows = np.asarray(rows, dtype=np.int64)
        return self.slices(rows, self.offsets[rows], self.offsets[rows + 1])

    def first(self, count: int) -> Ragged:
        """The first ``count`` values of each row."""
        stops = np.minimum(self.offsets[1:], self.offsets[:-1] + _at_least_one(count))
        return self.slices(np.arange(len(self)), self.offsets[:-1], stops)

    def last(self, count: int) -> Ragged:
        """The last ``count`` values of each row."""
        starts = np.maximum(self.offsets[:-1], self.offsets[1:] - _at_least_one(count))
        return self.slices(np.arange(len(self)), starts, self.offsets[1:])

    def keep(self, chosen: np.ndarray) -> Ragged:
        """The values where ``chosen`` is True; every row stays, even if empty."""
        before = np.concatenate([[0], np.cumsum(chosen, dtype=np.int64)])
        return Ragged(self.values[chosen], before[self.offsets])

    def slices(self, rows: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> Ragged:
        """Values from ``starts`` to ``stops`` (places in ``values``), one new row for each pair."""
        lengths = stops - starts
        offsets = offsets_of(lengths)
        # The cheap checks first: a batch takes a few rows of millions.
        whole = len(rows) == len(self) and offsets[-1] == len(self.values)
        if whole and np.array_equal(rows, np.arange(len(self))):
            return Ragged(self.values, offsets)  # nothing was cut
        return Ragged(self.values[row_places(starts, lengths)], offsets)


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Offsets (n + 1,) of rows with these lengths."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def blocks(length: int) -> Iterator[slice]:
    """Slices of an array, so that intermediate results need not be as long as the array."""
    return (slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK))


def joined(parts: Sequence[Ragged]) -> Ragged:
    """Join ragged arrays row by row: each row holds that row of every part, one after the other."""
    lengths = np.stack([part.lengths for part in parts], axis=1)
    starts = offsets_of(lengths.reshape(-1))
    values = np.empty(int(starts[-1]), dtype=parts[0].values.dtype)
    for column, part in enumerate(parts):
        place = starts[:-1].reshape(lengths.shape)[:, column]
        values[row_places(place, part.lengths)] = part.values
    return Ragged(values, starts[:: len(parts)])


def _at_least_one(count: int) -> int:
    if count < 1:
        raise ValueError(f"a row must be cut to at least 1 value, got {count}")
    return count
