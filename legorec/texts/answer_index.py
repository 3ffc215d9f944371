"""Where the answers of a log stand in its file, in 16 bytes each."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

FEW = 8192  # added since the last sort; they lie in a dictionary, which takes ten times the memory


class AnswerIndex:
    """Keys -> places in a file. A later place of a key replaces the earlier one.

    Of a key only 64 bits of a digest are kept, so that two keys may share a place: whoever reads what stands
    there compares the keys.
    """

    def __init__(self) -> None:
        self._names = np.empty(0, np.uint64)  # sorted
        self._places = np.empty(0, np.int64)
        self._recent: dict[int, int] = {}

    def __len__(self) -> int:
        self._sort()
        return len(self._names)

    def add(self, key: str, place: int) -> None:
        """Note where the answer to a key stands."""
        self._recent[_name(key)] = place
        if len(self._recent) >= max(FEW, len(self._names) // 32):
            self._sort()

    def get(self, key: str) -> int | None:
        """Where the answer to a key may stand; None where there is none."""
        name = _name(key)
        if name in self._recent:
            return self._recent[name]
        row = int(np.searchsorted(self._names, np.uint64(name)))
        found = row < len(self._names) and int(self._names[row]) == name
        return int(self._places[row]) if found else None

    def _sort(self) -> None:
        if not self._recent:
            return
        count = len(self._recent)
        names = np.concatenate([np.fromiter(self._recent.keys(), np.uint64, count), self._names])
        places = np.concatenate([np.fromiter(self._recent.values(), np.int64, count), self._places])
        self._names, first = np.unique(names, return_index=True)  # the first of equal ones: the recent one
        self._places = places[first]
        self._recent = {}


def _name(key: str) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest())
