"""Rows of similar length together, so that padding them adds little."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from legorec.nn.fused import PermuteRows
from legorec.nn.row_places import row_places
from legorec.nn.sending import sent

# The cost of one more group, in tokens: a few kernel launches per layer, which are expensive on a GPU.
OVERHEAD = {"cpu": 32}
OVERHEAD_ELSEWHERE = 1024


class LengthGroups:
    """A division of packed rows by length that minimises padded tokens plus an overhead per group.

    Args:
        lengths: (R,) of the packed rows, on the host. Empty rows are in no group.
        device: of the values.
    """

    def __init__(self, lengths: Tensor, device: torch.device) -> None:
        sizes = lengths.numpy()
        order = np.argsort(sizes, kind="stable")
        order = order[np.searchsorted(sizes[order], 1) :]
        bounds = _divide(sizes[order], OVERHEAD.get(device.type, OVERHEAD_ELSEWHERE))
        # The rows of each group, by their places in ``lengths``, and their lengths.
        self.rows = [order[start:stop] for start, stop in zip(bounds, bounds[1:], strict=False)]
        self.lengths = [sizes[rows] for rows in self.rows]
        starts = sizes.cumsum() - sizes
        kept = sizes[order]
        places = row_places(starts[order], kept)
        inverse = np.empty_like(places)
        inverse[places] = np.arange(len(places))
        self.places, self.inverse = sent(device, places, inverse)

    def split(self, values_TE: Tensor) -> tuple[Tensor, ...]:
        """The packed values of each group; also for ids."""
        if values_TE.dim() == 1:
            sorted_T = values_TE.index_select(0, self.places)
        else:
            sorted_T = PermuteRows.apply(values_TE, self.places, self.inverse)
        return sorted_T.split([int(lengths.sum()) for lengths in self.lengths])

    def join(self, groups: list[Tensor]) -> Tensor:
        """The packed values in the original order of the rows."""
        return PermuteRows.apply(torch.cat(groups), self.inverse, self.places)


def _divide(sizes: np.ndarray, overhead: int) -> list[int]:
    """The starts of the cheapest groups of the sorted ``sizes``, and the end, by dynamic programming."""
    if not len(sizes):
        return [0]
    starts = np.flatnonzero(np.diff(sizes, prepend=-1))  # the start of each distinct length
    ends = np.append(starts[1:], len(sizes))
    longest = sizes[starts].astype(np.int64)
    best = np.zeros(len(starts) + 1, dtype=np.int64)
    begin = np.zeros(len(starts) + 1, dtype=np.int64)
    for last in range(len(starts)):
        costs = best[: last + 1] + (ends[last] - starts[: last + 1]) * longest[last] + overhead
        begin[last + 1] = costs.argmin()
        best[last + 1] = costs[begin[last + 1]]
    bounds, place = [len(sizes)], len(starts)
    while place:
        place = int(begin[place])
        bounds.append(int(starts[place]))
    return bounds[::-1]
