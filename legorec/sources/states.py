"""Source of hidden states: an item is its text in a language model; states are cached or computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.lm.cache_plan import CachePlan, cached_depths
from legorec.lm.cut import LowerLayers
from legorec.lm.item_states import cache_identity, check_text
from legorec.lm.pretrained import DTYPES, Pretrained, find_pretrained
from legorec.lm.state_cache import HiddenStateCache, ServedStates
from legorec.nn.segments import Segments
from legorec.threads import Once

if TYPE_CHECKING:
    from legorec.data.catalog import Catalog, Tokens


class StatesSource(nn.Module):
    """Item -> the states of its text after the first, frozen layers of a language model (DIRE; Liu et al.,
    2024, section 3.2).

    At depth 0 they are the model's own embeddings, computed in every batch. Deeper states are read from the
    cache that a run in mode ``cache`` wrote, and the layers below are not loaded. Without a ``cache`` folder
    these layers run on every batch, with the same result at a multiple of the cost.

    Args:
        catalog: the items' text.
        checkpoint: folder or hub name of the language model.
        layer: the depth, how many layers are below; a negative number counts from the top.
        cache: folder that holds the caches of this model.
        cache_dtype: of the cached states on disk.
        dtype: of the states given to the item encoder, and of the layers below where they run.
        attention: its name in transformers; ``auto`` is ``sdpa`` here.
        memory_gb: caches up to this size are kept on an accelerator; a larger one is read from disk batch by
            batch. On the CPU they stay mapped files, whatever their size.
        embed_dim: width of the states. Where it differs from the model's, a learned projection follows.
    Raises:
        ValueError: no such model, items that are not text, or no complete cache of exactly these states.
    """

    gives: ClassVar[str] = "states"
    pooled: ClassVar[bool] = False
    places: ClassVar[tuple[str, ...]] = ("checkpoint", "cache", "memory_gb")

    @classmethod
    def language_model(cls, arguments: Mapping[str, Any]) -> Pretrained:
        """The model whose states they are."""
        return find_pretrained(arguments["checkpoint"])

    @classmethod
    def cache_plan(
        cls, catalog: Catalog, pretrained: Pretrained, layers: Sequence[int], arguments: Mapping[str, Any]
    ) -> CachePlan:
        """One cache of all token states for each of ``layers``.

        Raises:
            ValueError: there is no ``cache`` folder, ``layers`` name depth 0 or one that the model does not
                have, or ``layer`` or ``embed_dim`` are set, which a run from the whole model does not read.
        """
        layer, width = arguments["layer"], arguments["embed_dim"]
        if layer != 0:
            raise ValueError(f"`layer` is 0 while caching, got {layer}; exp.cache.layers says how deep")
        if width not in (None, pretrained.width):
            raise ValueError(
                f"`embed_dim` (--embed_hidden_size) is the width of {pretrained.name} ({pretrained.width}) "
                f"while caching, got {width}"
            )
        return CachePlan.of(catalog, pretrained, cached_depths(layers, pretrained), arguments)

    def __init__(
        self,
        catalog: Catalog,
        checkpoint: str,
        layer: int = 0,
        cache: str | None = None,
        cache_dtype: Literal["fp32", "bf16", "fp16"] = "bf16",
        dtype: Literal["fp32", "bf16", "fp16"] = "fp32",
        attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto",
        memory_gb: float = 4.0,
        embed_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.catalog = catalog
        self.pretrained = find_pretrained(checkpoint)
        check_text(catalog, self.pretrained)
        self.depth = self.deepest = self.pretrained.depth(layer)
        self.field_kinds = ("text",)
        self.dtype, self.attention = dtype, attention
        self.memory, self.bytes_cached = int(memory_gb * 2**30), DTYPES[cache_dtype].itemsize
        self.lower: LowerLayers | None = None
        self.cached: ServedStates | None = None
        if self.depth and cache is not None:
            if torch.get_default_device().type != "meta":  # the model is only counted, not run
                identity = cache_identity(
                    catalog,
                    self.pretrained,
                    self.depth,
                    stored=cache_dtype,
                    computed=dtype,
                    attention=attention,
                )
                self.cached = ServedStates(HiddenStateCache.open(cache, identity), self.memory)
        else:
            self.lower = self._layers()
        width = self.pretrained.width
        self.dim = embed_dim or width
        self.project = nn.Identity() if self.dim == width else nn.Linear(width, self.dim)
        self.register_buffer("_place", torch.empty(0), persistent=False)  # moves with the model
        self._for_new = Once(self._layers)  # which hides them from the model's parameters

    @property
    def device(self) -> torch.device:
        """The model's device; there may be no parameter to read it from."""
        place: Tensor = self._place  # type: ignore[assignment]
        return place.device

    def forward(self, items: Tensor) -> TokenStates:
        """States of ``items`` (N,), rows of the catalogue on the host."""
        if self.cached is None:
            return self.embed(self.catalog.tokens(items))
        values_TE = self.cached.gather(items, self.device)
        return self._states(values_TE, self.cached.cache.lengths[items].unsqueeze(1))

    def embed(self, tokens: Tokens) -> TokenStates:
        """States of any items, such as new ones, from their tokens, by running the layers below."""
        device = self.device
        lower = self.lower or self._for_new.get().to(device)
        states = lower(tokens.ids.to(device), tokens.lengths.sum(1))[self.depth]
        return self._states(states, tokens.lengths)

    def untrained(self, items: Tensor) -> Tensor:
        """(N, E) the mean of each item's states, without the projection; 0 where it has no token."""
        if self.cached is not None:
            values_TE = self.cached.gather(items, self.device)
            lengths_N = self.cached.cache.lengths[items]
        else:
            tokens = self.catalog.tokens(items)
            lengths_N = tokens.lengths.sum(1)
            assert self.lower is not None
            values_TE = self.lower(tokens.ids.to(self.device), lengths_N)[self.depth]
        return Segments(lengths_N).mean(values_TE.float())

    def cached_rows(self, lengths_N: Tensor) -> Tensor:
        """(N,) rows of each item in a cache: one a token."""
        return lengths_N

    def prefetch(self, items: Tensor) -> None:
        """Start reading the states of ``items``, which the next call will need, from disk."""
        if self.cached is not None:
            self.cached.prefetch(items, self.device)

    def _layers(self) -> LowerLayers:
        return LowerLayers(self.pretrained, [self.depth], self.dtype, self.attention)

    def _states(self, values_TE: Tensor, lengths_NF: Tensor) -> TokenStates:
        return TokenStates(self.project(values_TE.to(DTYPES[self.dtype])), lengths_NF)
