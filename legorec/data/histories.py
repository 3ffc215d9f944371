"""Click histories: one flat array, from which every example reads a span."""

from __future__ import annotations

import numpy as np

from legorec.data.ragged import blocks


class Histories:
    """The most recent clicks of every stored span.

    Args:
        clicks: item rows, oldest first, user after user.
        spans: (S, 2) start and stop into ``clicks``.
        max_length: how many of the most recent clicks are kept; None keeps all.

    Raises:
        ValueError: ``max_length`` is below 1.
    """

    def __init__(self, clicks: np.ndarray, spans: np.ndarray, max_length: int | None = None) -> None:
        if max_length is not None and max_length < 1:
            raise ValueError(f"`history.max_length` must be at least 1, got {max_length}")
        self.clicks = clicks
        self.spans = spans
        self.stops = np.asarray(spans[:, 1])
        starts = np.asarray(spans[:, 0])
        self.starts = starts if max_length is None else np.maximum(starts, self.stops - max_length)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> np.ndarray:
        """(S,) number of clicks in each span."""
        return self.stops - self.starts

    def num_real(self, num_real: int | None) -> np.ndarray:
        """(S,) number of clicks in each span on items before row ``num_real``; None counts all."""
        if num_real is None or not (self.clicks >= num_real).any():
            return self.lengths
        before = np.append(0, np.cumsum(self.clicks < num_real, dtype=np.int64))
        return before[self.stops] - before[self.starts]

    def whole(self) -> Histories:
        """The same spans without the cap on their length."""
        return Histories(self.clicks, self.spans)

    def padded(self, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Item rows (B, H) of some spans, oldest first, and their mask; padding holds item 0."""
        place, mask = self._places(spans)
        return _at(self.clicks, place, mask), mask

    def beside(self, values: np.ndarray, spans: np.ndarray) -> np.ndarray:
        """(B, H) what stands beside the clicks of some spans, in the places of ``padded``; padding holds 0.

        Args:
            values: one for each of ``clicks``.
        """
        return _at(values, *self._places(spans))

    def _places(self, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the clicks of some spans stand in ``clicks`` (B, H), and the mask."""
        starts = self.starts[spans]
        lengths = self.stops[spans] - starts
        columns = np.arange(max(1, int(lengths.max(initial=0))))
        mask = columns < lengths[:, None]
        return np.where(mask, starts[:, None] + columns, 0), mask

    def used_items(self, spans: np.ndarray, num_items: int) -> np.ndarray:
        """(num_items,) True for every item that one of these spans holds."""
        used, seen = np.zeros(num_items, dtype=bool), self.seen(spans)
        for block in blocks(len(seen)):
            used[self.clicks[block][seen[block]]] = True
        return used

    def seen(self, spans: np.ndarray) -> np.ndarray:
        """True for every one of ``clicks`` that one of these spans holds."""
        # Mark where spans start and stop; the running sum shows which clicks are inside one.
        depth = np.zeros(len(self.clicks) + 1, dtype=np.int32)
        np.add.at(depth, self.starts[spans], 1)
        np.add.at(depth, self.stops[spans], -1)
        np.cumsum(depth, out=depth)
        return depth[:-1] > 0


def _at(values: np.ndarray, place: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(mask, values[place], 0) if len(values) else np.zeros(mask.shape, dtype=np.int64)
