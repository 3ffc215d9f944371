"""The clicks of a prompt: which of them fit, and the pieces that show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from legorec.prompts.pieces import Pieces
from legorec.prompts.segments import HistorySegment


@dataclass(frozen=True)
class ShownClicks:
    """Where the texts of a segment of clicks lie in the pool.

    ``starts`` and ``lengths`` are those of every item; ``separator`` and ``empty`` are a start and a length.
    """

    starts: np.ndarray
    lengths: np.ndarray
    separator: tuple[int, int]
    empty: tuple[int, int]
    marks: tuple[int, ...]

    def belonging(self, part: HistorySegment, seen_RH: np.ndarray, marks_RH: np.ndarray) -> np.ndarray:
        """(R, H) the clicks with one of the segment's marks, all where it names none."""
        return seen_RH & np.isin(marks_RH, self.marks) if part.marks else seen_RH.copy()

    def pieces(self, clicked_RH: np.ndarray, kept_RH: np.ndarray) -> Pieces:
        """Items with separators between them, oldest first, or what stands where there is none."""
        row, column = np.nonzero(kept_RH)
        items = clicked_RH[row, column]
        last = np.append(row[1:] != row[:-1], True) if len(row) else np.zeros(0, dtype=bool)
        start = np.stack([self.starts[items], np.full(len(row), self.separator[0])], axis=1)
        length = np.stack([self.lengths[items], np.where(last, 0, self.separator[1])], axis=1)
        none = np.setdiff1d(np.arange(len(kept_RH)), row)
        rows = np.concatenate([np.repeat(row, 2), none])
        order = np.argsort(rows, kind="stable")
        starts = np.concatenate([start.reshape(-1), np.full(len(none), self.empty[0])])
        lengths = np.concatenate([length.reshape(-1), np.full(len(none), self.empty[1])])
        return Pieces(rows[order], starts[order], lengths[order])


def kept_clicks(
    parts: list[tuple[HistorySegment, ShownClicks]],
    clicked_RH: np.ndarray,
    seen_RH: np.ndarray,
    marks_RH: np.ndarray,
    room_R: np.ndarray,
) -> list[np.ndarray]:
    """(R, H) of each segment: the clicks that stand there; the oldest of all are left out where room lacks.

    Args:
        room_R: tokens that are left for all segments of clicks together.
    """
    chosen, costs_RH = [], np.zeros(seen_RH.shape, dtype=np.int64)
    for part, shown in parts:
        mine_RH = shown.belonging(part, seen_RH, marks_RH)
        if part.last is not None:
            mine_RH &= _from_newest(mine_RH) <= part.last
        cost_RH = np.where(mine_RH, shown.lengths[clicked_RH] + shown.separator[1], 0)
        if part.budget is not None:  # the last one has no separator
            mine_RH &= _from_newest(cost_RH) <= part.budget + shown.separator[1]
        chosen.append(mine_RH)
        costs_RH += np.where(mine_RH, cost_RH, 0)
        room_R = room_R - shown.empty[1]
    fits_RH = _from_newest(costs_RH) <= room_R[:, None]
    return [mine_RH & fits_RH for mine_RH in chosen]


def _from_newest(values_RH: np.ndarray) -> np.ndarray:
    """The sum of each click and all newer ones."""
    return values_RH[:, ::-1].cumsum(1)[:, ::-1]
