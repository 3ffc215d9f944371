"""What figures about lists read of a store: categories of items, and what users clicked before."""

from __future__ import annotations

from typing import Any

import numpy as np

from legorec.data.evaluation import Impressions
from legorec.data.ragged import Ragged
from legorec.nn.row_places import row_places


def shares_of(categories: Ragged, num_categories: int) -> Any:
    """(N, C) sparse: 1/m for each of the m distinct categories of an item."""
    from scipy.sparse import csr_array

    shape = (len(categories), num_categories)
    ones = np.ones(len(categories.values))
    found = csr_array((ones, np.array(categories.values), np.array(categories.offsets)), shape=shape)
    found.sum_duplicates()
    found.data = 1.0 / np.repeat(np.diff(found.indptr), np.diff(found.indptr))
    return found


def clicked_before(data: Impressions, num_real: int) -> Any:
    """(I, N) sparse: how often each item stands in the history of an impression, however long ago.

    Args:
        num_real: items from this row on are generated ones, which nobody clicked.
    """
    from scipy.sparse import csr_array

    whole, spans = data.histories.whole(), np.asarray(data.interactions.span)
    starts, lengths = whole.starts[spans], whole.lengths[spans]
    clicks = np.asarray(whole.clicks)[row_places(starts, lengths)].astype(np.int64)
    kept = Ragged.from_lengths(clicks, lengths).keep(clicks < num_real)
    shape = (len(spans), data.num_items)
    found = csr_array((np.ones(len(kept.values)), kept.values, kept.offsets), shape=shape)
    found.sum_duplicates()
    return found
