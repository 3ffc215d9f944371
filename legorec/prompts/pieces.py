"""Prompts as pieces of one flat array of token ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from legorec.data.ragged import Ragged, offsets_of
from legorec.nn.row_places import row_places


@dataclass(frozen=True)
class Pieces:
    """Stretches of a ``TokenPool``, each part of one row; within a row they follow each other as here."""

    row: np.ndarray  # (n,) ascending
    start: np.ndarray
    length: np.ndarray

    @classmethod
    def once(cls, num_rows: int, start: int | np.ndarray, length: int | np.ndarray) -> Pieces:
        """One piece a row."""
        whole = np.empty(num_rows, dtype=np.int64)
        whole[:] = start
        sizes = np.empty(num_rows, dtype=np.int64)
        sizes[:] = length
        return cls(np.arange(num_rows), whole, sizes)

    def lengths(self, num_rows: int) -> np.ndarray:
        """(B,) tokens in each row."""
        return np.bincount(self.row, weights=self.length, minlength=num_rows).astype(np.int64)


class TokenPool:
    """Everything that prompts are made of, end to end: literal texts, and texts of the items."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._size = 0
        self._values: np.ndarray | None = None

    def copy(self) -> TokenPool:
        """One that may grow and leaves this one as it is."""
        found = TokenPool()
        found._parts, found._size, found._values = [*self._parts], self._size, self._values
        return found

    def add(self, ids: np.ndarray) -> tuple[int, int]:
        """Add one stretch; returns its start and length."""
        start = self._size
        self._parts.append(ids.astype(np.int32, copy=False))
        self._size, self._values = start + len(ids), None
        return start, len(ids)

    def add_rows(self, rows: Ragged) -> tuple[np.ndarray, np.ndarray]:
        """Add one stretch for each row; returns their starts and lengths."""
        start, _ = self.add(rows.values)
        return start + rows.offsets[:-1], rows.lengths

    @property
    def values(self) -> np.ndarray:
        """(n,) int32, all of it."""
        if self._values is None:
            self._values = np.concatenate(self._parts) if self._parts else np.empty(0, dtype=np.int32)
        return self._values

    def rows(self, segments: list[Pieces], num_rows: int) -> Ragged:
        """The pieces of all segments, joined row by row, segment after segment."""
        row = np.concatenate([part.row for part in segments])
        order = np.argsort(row, kind="stable")
        start, length = (
            np.concatenate([getattr(part, name) for part in segments])[order] for name in ("start", "length")
        )
        values = self.values[row_places(start, length)]
        sizes = np.bincount(
            row, weights=np.concatenate([part.length for part in segments]), minlength=num_rows
        )
        return Ragged(values, offsets_of(sizes.astype(np.int64)))
