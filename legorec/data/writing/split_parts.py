"""Impressions on their way into a store."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from legorec.data.ragged import Ragged
from legorec.data.strings import Strings


@dataclass
class SplitParts:
    """The impressions of one split, chunk by chunk."""

    user: list[np.ndarray] = field(default_factory=list)
    piece: list[np.ndarray] = field(default_factory=list)
    start: list[np.ndarray] = field(default_factory=list)
    stop: list[np.ndarray] = field(default_factory=list)
    candidates: list[Ragged] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)
    ids: list[pl.Series] = field(default_factory=list)
    time: list[np.ndarray] = field(default_factory=list)
    labelled: bool = True
    without_candidates: int = 0

    def joined(self, name: str) -> np.ndarray:
        """All chunks of one column, int64."""
        parts = getattr(self, name)
        return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)

    def all_candidates(self) -> Ragged:
        """The candidates of all chunks."""
        return Ragged.concatenate(self.candidates)

    def arrays(self, span: np.ndarray, candidates: Ragged) -> dict[str, np.ndarray]:
        """What the file of the split holds."""
        arrays = {
            "user": self.joined("user").astype(np.int32),
            "span": span,
            "candidates": candidates.values.astype(np.int32),
            "candidates.offsets": candidates.offsets,
            "labels": np.concatenate(self.labels) if self.labels else np.empty(0, np.uint8),
        }
        if self.ids:
            packed = Strings.pack(pl.concat(self.ids)).packed
            arrays |= {"ids.values": packed.values, "ids.offsets": packed.offsets}
        if self.time:
            arrays["time"] = self.joined("time")
        return arrays
