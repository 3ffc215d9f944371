"""Lists of the best items, and what figures about them know of the items."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ItemFacts:
    """Of the ``N`` items of a store; what no figure was asked for needs is None."""

    num_candidates: int  # items that can be recommended
    num_real: int  # items before the generated ones, which nobody clicks
    num_users: int = 0  # with a click in training
    clicks: np.ndarray | None = None  # (N,) users who clicked the item in training
    categories: Any = None  # (N, C) sparse, a row sums to 1 over the item's categories, or to 0
    vectors: Any = None  # (N, E) sparse or dense, of length 1 or 0


@dataclass(frozen=True)
class ItemLists:
    """The best items of ``G`` groups, each for one user with a history."""

    group: np.ndarray  # (G,) distinct
    items: np.ndarray  # (G, K) rows of the catalogue, best first, -1 where fewer are left
    history: Any  # (G, N) sparse: how often each item was clicked before
    facts: ItemFacts

    def of(self, groups: np.ndarray) -> ItemLists:
        """The lists of some groups, in their order here."""
        kept = np.flatnonzero(np.isin(self.group, groups))
        return replace(self, group=self.group[kept], items=self.items[kept], history=self.history[kept])
