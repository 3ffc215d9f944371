"""Impressions to rank: whole lists of candidates, for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from legorec.batch import ClickBatch
from legorec.data.collate import collate
from legorec.data.histories import Histories

if TYPE_CHECKING:
    from legorec.data.store import Interactions


class Impressions:
    """The impressions of one split, with the groups that metrics use.

    Args:
        group_by: ``impression`` (as in MIND's reports) or ``user`` (for data with one candidate per row).

    Raises:
        ValueError: ``group_by`` is neither.
    """

    def __init__(
        self, interactions: Interactions, histories: Histories, num_items: int, group_by: str = "impression"
    ) -> None:
        if group_by not in ("impression", "user"):
            raise ValueError(f"`group_by` must be 'impression' or 'user', got '{group_by}'")
        self.interactions = interactions
        self.histories = histories
        self.num_items = num_items
        self.group_by = group_by

    def __len__(self) -> int:
        return len(self.interactions.user)

    @property
    def group(self) -> np.ndarray:
        """(R,) the group of each candidate row, in stored order."""
        by_impression = self.group_by == "impression"
        owner = self.interactions.numbers if by_impression else np.asarray(self.interactions.user)
        return np.repeat(owner, self.interactions.candidates.lengths)

    def candidates(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Item rows (B, K) of some impressions, their places in stored order (B, K), and the mask."""
        values, offsets = self.interactions.candidates.values, self.interactions.candidates.offsets
        starts = offsets[rows]
        lengths = offsets[rows + 1] - starts
        columns = np.arange(max(1, int(lengths.max(initial=0))))
        mask = columns < lengths[:, None]
        place = np.where(mask, starts[:, None] + columns, 0)
        return (values[place] if len(values) else np.zeros(mask.shape, dtype=np.int64)), place, mask

    def pages(self, rows: np.ndarray, max_cells: int) -> Iterator[np.ndarray]:
        """Rows in pages of similar length, each row once.

        A page has at most ``max_cells`` padded candidates, or is a single row that has more.
        """
        lengths = self.interactions.candidates.lengths[rows]
        order = np.argsort(lengths, kind="stable")
        rows, lengths = rows[order], lengths[order]
        start = 0
        while start < len(rows):
            # Lengths increase, so the page that starts here grows until its last row makes it too wide.
            ahead = lengths[start : start + max_cells]
            sizes = ahead * np.arange(1, len(ahead) + 1)
            stop = start + max(1, int(np.searchsorted(sizes, max_cells, side="right")))
            yield rows[start:stop]
            start = stop

    def batch(self, rows: np.ndarray, number: int = -1) -> tuple[ClickBatch, np.ndarray]:
        """A batch of whole impressions and the places (B, K) of its candidates in stored order."""
        interactions = self.interactions
        user, span = interactions.user[rows], interactions.span[rows]
        history, history_mask = self.histories.padded(span)
        shown, place, mask = self.candidates(rows)
        labels = np.where(mask, interactions.labels[place] if len(interactions.labels) else 0, 0)
        numbered = rows if interactions.rows is None else interactions.rows[rows]
        group = numbered if self.group_by == "impression" else user
        batch = collate(
            history, history_mask, shown, mask, labels, user=user, group=group, span=span, number=number
        )
        return batch, place
