"""The impressions of a split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from legorec.data.ragged import Ragged
from legorec.data.strings import Strings


@dataclass(frozen=True)
class Interactions:
    """One row per impression: a user, the history before it, candidates and their labels."""

    user: np.ndarray  # (I,) int32 rows of the user table
    span: np.ndarray  # (I,) int32 rows of ``Store.spans``
    candidates: Ragged  # int32 rows of the item table
    labels: np.ndarray  # uint8, aligned with ``candidates.values``
    ids: Strings | None  # raw ids of the impressions
    time: np.ndarray | None  # (I,) int64, seconds since 1970
    labelled: bool = True  # False: the labels are unknown, and all 0
    rows: np.ndarray | None = None  # (I,) their places in the split, where some of it were left out

    def __len__(self) -> int:
        return len(self.user)

    @property
    def numbers(self) -> np.ndarray:
        """(I,) the place of each impression in the split, as stored."""
        return np.arange(len(self)) if self.rows is None else self.rows
