"""The neighbourhood baseline: items that the same users clicked."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import ClickBatch
from legorec.data.clicks import TrainingClicks
from legorec.data.negatives import KnownClicks
from legorec.scorers.cosine import history_mean

NEIGHBOURS = 100
PAIRS = 1 << 22  # of clicks by one user that are counted at a time


class ItemKNNBaseline(nn.Module):
    """Mean similarity of the history's items to the candidate, where they are among its nearest neighbours.

    The similarity of two items is the cosine of their columns in the users' clicks of the training data::

        users who clicked both / sqrt(users who clicked one * users who clicked the other)

    (Sarwar et al., 2001; Deshpande and Karypis, 2004). An item is no neighbour of itself.

    Args:
        num_neighbours: of each item that count; of equally similar ones at the end those that come first in
            the store.
    """

    def __init__(self, clicks: TrainingClicks, num_neighbours: int = NEIGHBOURS) -> None:
        super().__init__()
        self.neighbour, self.similarity = neighbours(clicks.known, num_neighbours)

    def forward(self, batch: ClickBatch) -> Tensor:
        from scipy.sparse import csr_array

        items = batch.items.numpy()
        place = np.full(len(self.neighbour) + 1, -1)  # the last one is that of no neighbour, -1
        place[items] = np.arange(len(items))
        column = place[self.neighbour[items]]
        here = column >= 0  # its neighbours among the items of the batch
        ends = np.append(0, here.sum(1).cumsum())
        near = csr_array((self.similarity[items][here], column[here], ends), shape=(len(items), len(items)))
        scores_NB = near @ history_mean(batch).numpy().T
        return torch.from_numpy(scores_NB.T.copy()).gather(1, batch.candidates).float()


def neighbours(known: KnownClicks, num_neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """(num_items, k) int32 the nearest items of each, nearest first, and float64 their similarities.

    Where an item has fewer, -1 and 0 fill the row. Memory is ``12 * num_items * k`` bytes, and some hundred
    megabytes while pairs are counted.
    """
    from scipy.sparse import csr_array

    num_items = known.num_items
    num_neighbours = min(num_neighbours, max(1, num_items - 1))
    user, item = np.divmod(known.keys, max(1, num_items))
    user = np.unique(user, return_inverse=True)[1].reshape(-1)
    shape = (int(user.max(initial=-1)) + 1, num_items)
    by_user = csr_array((np.ones(len(item)), (user, item)), shape=shape)
    by_item = by_user.T.tocsr()
    counts = np.diff(by_item.indptr)
    found = np.full((num_items, num_neighbours), -1, dtype=np.int32)
    similarity = np.zeros((num_items, num_neighbours))
    for start, stop in _blocks(by_item.indptr, np.diff(by_user.indptr)[by_item.indices]):
        both = (by_item[start:stop] @ by_user).tocsr()  # counts, so that equal similarities are equal
        row = np.repeat(np.arange(start, stop), np.diff(both.indptr))
        other = both.indices.astype(np.int64)
        value = both.data / np.sqrt(counts[row].astype(np.float64) * counts[other])
        kept = other != row
        row, other, value = row[kept], other[kept], value[kept]
        order = np.lexsort((other, -value, row))
        row, other, value = row[order], other[order], value[order]
        rank = np.arange(len(row)) - np.searchsorted(row, row)
        near = rank < num_neighbours
        found[row[near], rank[near]] = other[near]
        similarity[row[near], rank[near]] = value[near]
    return found, similarity


def _blocks(ends: np.ndarray, lengths: np.ndarray) -> Iterator[tuple[int, int]]:
    """Items whose pairs are at most ``PAIRS`` in number, or a single item.

    Args:
        ends: (num_items + 1,) where the clicks of each item begin and end.
        lengths: for each of these clicks, all clicks of its user.
    """
    pairs = np.append(0, np.cumsum(lengths))[ends]
    start = 0
    while start < len(ends) - 1:
        stop = int(np.searchsorted(pairs, pairs[start] + PAIRS, side="right")) - 1
        stop = min(max(stop, start + 1), len(ends) - 1)
        yield start, stop
        start = stop
