"""Ids that are in no table: dropped, counted, and refused above a certain share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from legorec.data.layout import StoreError
from legorec.data.writing.spelling import LOOKED_AT, spelt_otherwise


@dataclass
class MissingCount:
    """How many ids are missing, of how many, some of them, and the ids of the table."""

    missing: int = 0
    of: int = 0
    examples: list[str] = field(default_factory=list)
    known: pl.Series | None = None
    file: str = ""

    def add(self, rows: np.ndarray, ids: pl.Series) -> None:
        """Count the -1 in ``rows``, the rows of ``ids``."""
        unknown = rows < 0
        self.of += len(rows)
        if count := int(unknown.sum()):
            if (left := LOOKED_AT - len(self.examples)) > 0:
                self.examples += [str(ids[int(place)]) for place in np.flatnonzero(unknown)[:left]]
            self.missing += count

    @property
    def described(self) -> str:
        """An example of each side, for a message."""
        if self.known is None:
            return f"e.g. '{self.examples[0]}'"
        return spelt_otherwise(self.examples, self.known)


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

    def add(
        self,
        split: str,
        place: str,
        rows: np.ndarray,
        ids: pl.Series,
        known: pl.Series | None = None,
        file: str = "",
    ) -> None:
        """Count the unknown ids of one column.

        Args:
            known: the ids of the table, for the message.
            file: that holds the column, for the message.
        """
        count = self.counts.setdefault((split, place), MissingCount())
        count.known, count.file = known, file or count.file
        count.add(rows, ids)

    def check(self) -> None:
        """Refuse more than the allowed share, with all places in one message."""
        problems = [
            f"{count.file}{': ' if count.file else ''}{count.missing:,} of {count.of:,} {place} ({split}) "
            f"are in no table ({count.missing / count.of:.1%}), {count.described}"
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
