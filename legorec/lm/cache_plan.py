"""What a cache run computes for a source, and where it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from legorec.lm.cut import Attention, LowerLayers, Precision
from legorec.lm.item_states import cache_identity, check_text, mean_rows, means_folder
from legorec.lm.pretrained import Pretrained
from legorec.lm.state_cache import CacheIdentity, CacheWriter
from legorec.lm.streamed import StreamedLayers

if TYPE_CHECKING:
    from legorec.data.catalog import Catalog


def cached_depths(layers: Sequence[int], pretrained: Pretrained) -> list[int]:
    """The depths that ``exp.cache.layers`` asks for, shallow ones first.

    Raises:
        ValueError: depth 0, which is the embeddings and is not cached, or one that the model does not have.
    """
    depths = sorted({pretrained.depth(layer) for layer in layers})
    if depths[0] == 0:
        raise ValueError(
            f"`exp.cache.layers` {list(layers)} asks for depth 0 of {pretrained.name}: the embeddings are "
            "computed on the spot and not cached"
        )
    return depths


@dataclass(frozen=True)
class CachePlan:
    """One cache of all token states for each depth, or one cache of the means at all depths together.

    Args:
        root: folder that holds the caches of this model.
        depths: shallow ones first.
        mean: an item has one row for each of ``depths``, the mean of its tokens there.
        stored: dtype of the states on disk.
        computed: dtype of the layers.
    """

    catalog: Catalog
    pretrained: Pretrained
    root: str
    depths: list[int]
    mean: bool
    stored: Precision
    computed: Precision
    attention: Attention

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        pretrained: Pretrained,
        depths: list[int],
        arguments: Mapping[str, Any],
        mean: bool = False,
    ) -> CachePlan:
        """The plan of a source with these constructor arguments.

        Raises:
            ValueError: there is no ``cache`` folder, or the items are not text for this model.
        """
        if arguments["cache"] is None:
            raise ValueError("a cache run needs a `cache` folder to write to")
        check_text(catalog, pretrained)
        return cls(
            catalog,
            pretrained,
            arguments["cache"],
            depths,
            mean,
            stored=arguments["cache_dtype"],
            computed=arguments["dtype"],
            attention=arguments["attention"],
        )

    @property
    def contents(self) -> str:
        """What a cache holds of an item, in words."""
        return "the means of each item" if self.mean else "states"

    def rows(self) -> Tensor:
        """(N,) rows of each item in a cache."""
        lengths = self.catalog.lengths.sum(1)
        return mean_rows(lengths, self.depths) if self.mean else lengths

    def writers(self, shard_bytes: int) -> list[CacheWriter]:
        """One for each cache; nothing is written yet."""
        folder = means_folder(self.root) if self.mean else Path(self.root)
        rows = self.rows().numpy()
        depths = self.depths[-1:] if self.mean else self.depths
        return [CacheWriter(folder, self._identity(depth), rows, shard_bytes) for depth in depths]

    def _identity(self, depth: int) -> CacheIdentity:
        return cache_identity(
            self.catalog,
            self.pretrained,
            depth,
            stored=self.stored,
            computed=self.computed,
            attention=self.attention,
            mean_at=self.depths if self.mean else (),
        )

    def depths_of(self, writers: Sequence[CacheWriter]) -> list[int]:
        """The depths whose states these writers need; all of them for means."""
        return self.depths if self.mean else [writer.identity.depth for writer in writers]

    def lower(self, writers: Sequence[CacheWriter]) -> LowerLayers:
        """The layers that give the states for these writers."""
        return LowerLayers(self.pretrained, self.depths_of(writers), self.computed, self.attention)

    def streamed(self, writers: Sequence[CacheWriter], device: torch.device, ahead: bool) -> StreamedLayers:
        """The same layers, one at a time in memory."""
        depth = max(self.depths_of(writers))
        return StreamedLayers(self.pretrained, depth, self.computed, self.attention, device, ahead)
