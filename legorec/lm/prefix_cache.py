"""Keys and values of prefixes that several rows begin with. Imported where transformers is needed anyway."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class _AfterPrefix(DynamicLayer):
    """The keys and values of one layer for rows that come after the prefixes.

    They are put together anew each time, so that those of all rows are in memory for one layer alone.

    Args:
        kept: the layer as the prefixes left it, (P, heads, M, D) each.
        owner: (R,) the prefix of each row.
    """

    def __init__(self, kept: DynamicLayer, owner: Tensor) -> None:
        super().__init__()
        self.kept, self.owner = kept, owner
        self.keys, self.values, self.is_initialized = kept.keys, kept.values, kept.is_initialized

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        return self._joined(self.kept.keys, key_states), self._joined(self.kept.values, value_states)

    def _joined(self, kept: Tensor | None, own: Tensor) -> Tensor:
        assert kept is not None, "the prefixes have been through this layer"
        return torch.cat([kept.index_select(0, self.owner).to(own.dtype), own], dim=2)


def empty_cache() -> DynamicCache:
    """One that a pass over the prefixes fills; every layer keeps all of it, whatever its window."""
    return DynamicCache()


def after_prefixes(cache: DynamicCache, owner: Tensor) -> DynamicCache:
    """A cache for rows that come after the prefixes, which stays as it is.

    Args:
        owner: (R,) the prefix of each row, on the device.
    """
    found = DynamicCache()
    layers: list[Any] = cache.layers
    found.layers = [_AfterPrefix(layer, owner) for layer in layers]
    return found
