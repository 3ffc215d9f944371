"""Source of pooled layers: an item is its text in a language model, with one mean over tokens per layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.halving import Halving
from legorec.lm.build_cache import mean_states
from legorec.lm.cache_plan import CachePlan
from legorec.lm.cut import LowerLayers
from legorec.lm.item_states import cache_identity, check_text, mean_depths, mean_rows, means_folder
from legorec.lm.pretrained import DTYPES, Pretrained, find_pretrained
from legorec.lm.state_cache import HiddenStateCache, ServedStates
from legorec.nn.segments import Segments
from legorec.threads import Once

if TYPE_CHECKING:
    from legorec.data.catalog import Catalog, Tokens

TOKEN_BUDGET = 8192  # tokens, with padding, that go through the model at once if there is no cache


class LayersSource(nn.Module):
    """Item -> the means of its tokens' states at several depths of a frozen language model, shallow first.

    This is the input of IISAN's side network (Fu et al., 2024). No gradient goes through the language model,
    so its layers run once for each item, in mode ``cache``. Without a ``cache`` folder they run on every
    batch, with the same result at a multiple of the cost.

    Args:
        catalog: the items' text.
        checkpoint: folder or hub name of the language model.
        step: every ``step``-th depth is read, counted down from the last: of 12 layers, 2 reads 0, 2, ...,
            12. Depth 0, the embeddings, is included if the steps end there. The last depth is taken before
            the model's final norm, as in every cache.
        cache: folder that holds the caches of this model.
        cache_dtype: of the cached means on disk.
        dtype: of the means given to the item encoder, and of the layers where they run.
        attention: its name in transformers; ``auto`` is ``sdpa`` here.
        memory_gb: caches up to this size are kept on an accelerator; a larger one is read from disk batch by
            batch. On the CPU they stay mapped files, whatever their size.
    Raises:
        ValueError: no such model, items that are not text, ``step`` beyond its layers, or no complete cache
            of exactly these means.
    Unlike in ``states``, an item has one row per depth, whatever its length. The authors' code reads the
    state of ``[CLS]``; here rows are means over the tokens, as in Legommenders, because causal models have no
    such token.
    """

    gives: ClassVar[str] = "layers"
    pooled: ClassVar[bool] = True
    places: ClassVar[tuple[str, ...]] = ("checkpoint", "cache", "memory_gb")

    @classmethod
    def language_model(cls, arguments: Mapping[str, Any]) -> Pretrained:
        """The model whose layers they are."""
        return find_pretrained(arguments["checkpoint"])

    @classmethod
    def cache_plan(
        cls, catalog: Catalog, pretrained: Pretrained, layers: Sequence[int], arguments: Mapping[str, Any]
    ) -> CachePlan:
        """One cache of the means at the depths that ``step`` chooses; ``layers`` are not read.

        Raises:
            ValueError: there is no ``cache`` folder, or ``step`` is beyond the model's layers.
        """
        depths = mean_depths(pretrained, arguments["step"])
        return CachePlan.of(catalog, pretrained, depths, arguments, mean=True)

    def __init__(
        self,
        catalog: Catalog,
        checkpoint: str,
        step: int = 2,
        cache: str | None = None,
        cache_dtype: Literal["fp32", "bf16", "fp16"] = "bf16",
        dtype: Literal["fp32", "bf16", "fp16"] = "fp32",
        attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto",
        memory_gb: float = 4.0,
    ) -> None:
        super().__init__()
        self.catalog = catalog
        self.pretrained = find_pretrained(checkpoint)
        check_text(catalog, self.pretrained)
        self.depths = mean_depths(self.pretrained, step)
        self.depth, self.deepest = len(self.depths), self.depths[-1]
        self.dim = self.pretrained.width
        self.field_kinds = ("layer",)
        self.dtype, self.attention = dtype, attention
        self.memory, self.bytes_cached = int(memory_gb * 2**30), DTYPES[cache_dtype].itemsize
        self._batches = Halving(TOKEN_BUDGET, "batches of tokens of")
        self.lower: LowerLayers | None = None
        self.cached: ServedStates | None = None
        if cache is None:
            self.lower = self._layers()
        elif torch.get_default_device().type != "meta":  # the model is only counted, not run
            identity = cache_identity(
                catalog,
                self.pretrained,
                self.depths[-1],
                stored=cache_dtype,
                computed=dtype,
                attention=attention,
                mean_at=self.depths,
            )
            self.cached = ServedStates(HiddenStateCache.open(means_folder(cache), identity), self.memory)
        self.register_buffer("_place", torch.empty(0), persistent=False)  # moves with the model
        self._for_new = Once(self._layers)  # which hides them from the model's parameters

    @property
    def device(self) -> torch.device:
        """The model's device; there may be no parameter to read it from."""
        place: Tensor = self._place  # type: ignore[assignment]
        return place.device

    def forward(self, items: Tensor) -> TokenStates:
        """The means of ``items`` (N,), rows of the catalogue on the host; each has ``depth`` rows or none."""
        if self.cached is None:
            return self.embed(self.catalog.tokens(items))
        values_TE = self.cached.gather(items, self.device)
        return self._states(values_TE, self.cached.cache.lengths[items])

    def embed(self, tokens: Tokens) -> TokenStates:
        """The means of any items, such as new ones, from their tokens, by running the layers."""
        device = self.device
        lower = self.lower or self._for_new.get().to(device)
        lengths_N = tokens.lengths.sum(1)
        values_TE = mean_states(lower, tokens.ids.to(device), lengths_N, self._batches, DTYPES[self.dtype])
        return self._states(values_TE, mean_rows(lengths_N, self.depths))

    def untrained(self, items: Tensor) -> Tensor:
        """(N, E) each item's mean at the last depth; 0 where it has no token."""
        states = self(items)
        return Segments(states.lengths[:, 0]).end(states.values, "last")

    def cached_rows(self, lengths_N: Tensor) -> Tensor:
        """(N,) rows of each item in a cache: one a depth, none where it has no token."""
        return mean_rows(lengths_N, self.depths)

    def prefetch(self, items: Tensor) -> None:
        """Start reading the means of ``items``, which the next call will need, from disk."""
        if self.cached is not None:
            self.cached.prefetch(items, self.device)

    def _layers(self) -> LowerLayers:
        return LowerLayers(self.pretrained, self.depths, self.dtype, self.attention)

    def _states(self, values_TE: Tensor, rows_N: Tensor) -> TokenStates:
        return TokenStates(values_TE.to(DTYPES[self.dtype]), rows_N.unsqueeze(1))
