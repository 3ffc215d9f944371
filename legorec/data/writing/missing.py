"""Ids that are in no table: dropped, counted, and refused above a certain share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from legorec.data.layout import StoreError


@dataclass
class MissingCount:
    """How many ids are missing, of how many, and an example."""

    missing: int = 0
    of: int = 0
    example: str = ""

    def add(self, rows: np.ndarray, ids: pl.Series) -> None:
        """Count the -1 in ``rows``, the rows of ``ids``."""
        unknown = rows < 0
        self.of += len(rows)
        if count := int(unknown.sum()):
            self.example = self.example or str(ids[int(unknown.argmax())])
            self.missing += count


class MissingIds:
    """The counts of a whole store, by split and by where the ids occur.

    Args:
        max_missing: the share of ids in one place that may be missing, 0 to 1.
    """

    def __init__(self, max_missing: float) -> None:
        if not 0 <= max_missing <= 1:
            raise StoreError(f"`max_missing` must lie between 0 and 1, got {max_missing}")
        self.max_missing = max_missing
        self.counts: dict[tuple[str, str], MissingCount] = {}

    def add(self, split: str, place: str, rows: np.ndarray, ids: pl.Series) -> None:
        """Count the unknown ids of one column."""
        self.counts.setdefault((split, place), MissingCount()).add(rows, ids)

    def check(self) -> None:
        """Refuse more than the allowed share, with all places in one message."""
        problems = [
            f"{count.missing:,} of {count.of:,} {place} ({split}) are in no table "
            f"({count.missing / count.of:.1%}), e.g. '{count.example}'"
            for (split, place), count in self.counts.items()
            if count.missing > self.max_missing * count.of
        ]
        if problems:
            raise StoreError(
                "; ".join(problems)
                + f". At most {self.max_missing:.4g} of them may be missing (--max_missing)"
            )

    def manifest(self) -> dict[str, dict[str, dict[str, int]]]:
        """The counts for the manifest."""
        result: dict[str, dict[str, dict[str, int]]] = {}
        for (split, place), count in sorted(self.counts.items()):
            result.setdefault(split, {})[place] = {"missing": count.missing, "of": count.of}
        return result
