"""Whether the lower layers fit in the given memory in one piece, and what fits when they do not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from legorec.lm.cache_plan import CachePlan
from legorec.lm.cut import Attention, LowerLayers, Precision, UpperLayers
from legorec.lm.model_types import layers_at
from legorec.lm.pretrained import DTYPES, Pretrained
from legorec.lm.state_cache import CacheWriter

WIDTHS = 16  # states of a token that a layer holds at its peak, some of them in float32
WIDEST = 5  # and rows of its widest matrix


@dataclass(frozen=True)
class CacheMemory:
    """Bytes that a cache run takes beside the program itself; all from the config and the items' lengths.

    Args:
        embeddings: of the model.
        layers: each of those that are run.
        around: what surrounds the layers, such as positions that all of them read.
        batch: what a layer holds at its peak, an estimate.
        states: of the largest shard, between two layers.
        written: of the largest shard, at one depth, while it is written; 0 where another memory holds it.
        depths: the number of depths that are written.
    """

    embeddings: int
    layers: tuple[int, ...]
    around: int
    batch: int
    states: int
    written: int
    depths: int

    @property
    def weights(self) -> int:
        """The lower layers in one piece."""
        return self.embeddings + sum(self.layers) + self.around

    @property
    def whole(self) -> int:
        """With the lower layers in one piece."""
        return self.weights + self.batch + self.depths * self.written

    def streamed(self, ahead: bool, shards: int = 1) -> int:
        """With one layer at a time; on the CPU, the one that is read ahead is in the same memory."""
        parts = (self.embeddings, *self.layers)
        most = max(map(sum, zip(parts, parts[1:], strict=False))) if ahead and self.layers else max(parts)
        return most + self.around + self.batch + shards * self.states + self.written

    def shards(self, ahead: bool, memory: int) -> int:
        """Shards whose states fit at once."""
        return max(1, 1 + (memory - self.streamed(ahead)) // max(1, self.states))


@dataclass(frozen=True)
class Streaming:
    """One layer at a time, with the next one ``ahead``, over at most ``shards`` shards at once."""

    ahead: bool
    shards: int


def cache_memory(
    plan: CachePlan, writers: Sequence[CacheWriter], token_budget: int, on_host: bool
) -> CacheMemory:
    """What the run that writes these caches takes.

    Args:
        on_host: the layers run on the CPU.
    """
    model, size = plan.pretrained, DTYPES[plan.computed].itemsize
    lengths = plan.catalog.lengths.sum(1).numpy()
    embeddings, layers, around, widest = _weights(model, max(plan.depths), plan.computed, plan.attention)
    ends = np.append(0, lengths.cumsum())
    shards = [int(ends[rows.stop] - ends[rows.start]) for rows in writers[0].shards]
    states = rows = max(shards, default=0)
    if plan.mean:
        rows = max(map(len, writers[0].shards), default=0) * len(plan.depths)
    # fp16 is checked as float32 before it is written.
    stored = 6 if plan.stored == "fp16" else DTYPES[plan.stored].itemsize
    return CacheMemory(
        embeddings,
        layers,
        around,
        batch=_batch(model, widest, lengths, token_budget) * size,
        states=states * model.width * size,
        written=rows * model.width * stored if on_host else 0,
        depths=1 if plan.mean else len(plan.depths),
    )


def vectors_memory(
    model: Pretrained, lengths: np.ndarray, computed: Precision, token_budget: int, on_host: bool
) -> CacheMemory:
    """What it takes to run items through the whole model; the ``states`` are those of the largest batch."""
    size = DTYPES[computed].itemsize
    embeddings, layers, around, widest = _weights(model, model.num_layers, computed, "auto")
    with torch.device("meta"):
        final = UpperLayers(model, model.num_layers, computed)
    longest = int(lengths.max(initial=0))
    tokens = max(longest, min(token_budget, int(lengths.sum())))
    return CacheMemory(
        embeddings,
        layers,
        around + _bytes(final, size),
        batch=_batch(model, widest, lengths, token_budget) * size,
        states=tokens * model.width * size,
        written=len(lengths) * model.output_width * 4 if on_host else 0,
        depths=1,
    )


def _weights(
    model: Pretrained, depth: int, computed: Precision, attention: Attention
) -> tuple[int, tuple[int, ...], int, int]:
    """Bytes of the embeddings, of each of the lower layers, and of what surrounds them; the widest matrix."""
    size = DTYPES[computed].itemsize
    with torch.device("meta"):
        first = LowerLayers(model, [0], computed, attention)
        around = UpperLayers(model, depth, computed, attention, stop=depth)
    layers = layers_at(model.skeleton(), model.family.layers)
    each = tuple(_bytes(layer, size) for layer in list(layers)[:depth])
    widest = max((max(one.shape, default=1) for layer in layers for one in layer.parameters()), default=0)
    return _bytes(first, size), each, _bytes(around, size), widest


def _batch(model: Pretrained, widest: int, lengths: np.ndarray, token_budget: int) -> int:
    """Numbers that a layer holds at its peak, an estimate."""
    longest = int(lengths.max(initial=0))
    tokens = max(longest, min(token_budget, longest * len(lengths)))
    heads = int(getattr(model.config, "num_attention_heads", 1))
    return tokens * (WIDTHS * model.width + WIDEST * widest + heads * longest)


def choose_streaming(memory: CacheMemory, given: int, ahead_is_free: bool = False) -> Streaming | None:
    """None where the layers fit in one piece; otherwise the layer read ahead comes first, then the items.

    Args:
        given: bytes.
        ahead_is_free: the layer read ahead is in another memory.
    """
    if memory.whole <= given:
        return None
    if ahead_is_free:
        return Streaming(True, memory.shards(False, given))
    ahead = memory.streamed(ahead=True) <= given
    return Streaming(ahead, memory.shards(ahead, given))


def check_memory(
    memory: CacheMemory,
    given_gb: float,
    work: str,
    unit: str = "a shard",
    less: str = "--token_budget, --shard_mb or --lm_dtype",
) -> None:
    """Refuse what not even one layer fits in.

    Args:
        work: what the memory is for, ``cache`` and the model's name.
        unit: what the states are of.
        less: flags that make it less.
    Raises:
        ValueError: with the number that would do.
    """
    least = memory.streamed(ahead=False)
    if least > given_gb * 2**30:
        shard = memory.states + memory.written
        raise ValueError(
            f"`memory_gb` must be at least {gigabytes_up(least)} to {work} one layer at a time "
            f"({gigabytes_up(max(memory.embeddings, *memory.layers))} for a layer, "
            f"{gigabytes_up(memory.batch)} for a batch, {gigabytes_up(shard)} for {unit}), got "
            f"{given_gb:g}; a smaller {less} needs less"
        )


def gigabytes_up(size: int) -> str:
    """Bytes in units of 2^30, two digits, rounded up, so that the number does as a setting."""
    number = size / 2**30
    if number <= 0:
        return "0"
    step = 10.0 ** (math.floor(math.log10(number)) - 1)
    return f"{math.ceil(number / step) * step:.3g}"


def _bytes(module: nn.Module, size: int) -> int:
    return sum(each.numel() * size for each in module.parameters())
