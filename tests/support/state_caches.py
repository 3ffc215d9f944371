"""A small cache in several shards, and what builds it in a process of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from legorec.files import lock
from legorec.lm.state_cache import CacheIdentity, CacheWriter, HiddenStateCache

# 17 items with empty ones at the beginning, within and at the end; items of one token; a long one.
LENGTHS = np.array([0, 3, 1, 4, 0, 0, 2, 9, 1, 1, 5, 0, 3, 2, 6, 1, 0], dtype=np.int64)
WIDTH = 4
SHARD_BYTES = 100
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def identity(**changes: Any) -> CacheIdentity:
    values: dict[str, Any] = {
        "checkpoint": "c" * 32, "tokenizer": "t" * 32, "template": "title: {title:30} body: {body:100}",
        "catalog": "d" * 32, "depth": 3, "width": WIDTH, "dtype": "bf16", "compute": "fp32/sdpa",
    }  # fmt: skip
    return CacheIdentity(**(values | changes))


def states(seed: int = 0, lengths: np.ndarray = LENGTHS) -> Tensor:
    """The states of all items, in float32."""
    return torch.randn(int(lengths.sum()), WIDTH, generator=torch.Generator().manual_seed(seed))


def of_items(values: Tensor, items: range, lengths: np.ndarray = LENGTHS) -> Tensor:
    offsets = np.append(0, lengths.cumsum())
    return values[offsets[items.start] : offsets[items.stop]]


def writer(root: Path, **changes: Any) -> CacheWriter:
    return CacheWriter(root, identity(**changes), LENGTHS, shard_bytes=SHARD_BYTES)


def build(root: Path, values: Tensor | None = None, **changes: Any) -> Path:
    """Write what is missing of a whole cache."""
    values = states() if values is None else values
    cache = writer(root, **changes)
    for index in cache.missing():
        with cache.claim(index):
            cache.write(index, of_items(values, cache.shards[index]))
    assert cache.finish()
    return cache.folder


def rows_of(values: Tensor, items: list[int], lengths: np.ndarray = LENGTHS) -> Tensor:
    """Item by item: what ``gather`` must give."""
    return torch.cat([values[:0], *(of_items(values, range(item, item + 1), lengths) for item in items)])


def check(root: Path, **changes: Any) -> HiddenStateCache:
    """Open a cache that must be whole and alone in its folder."""
    cache = HiddenStateCache.open(root, identity(**changes), verify="full")
    names = {path.name for path in (root / cache.identity.folder_name).iterdir()}
    count = len(writer(root, **changes).shards)
    shards = {f"shard-{index:05d}.{end}" for index in range(count) for end in ("json", "safetensors")}
    assert names == shards | {"identity.json", "manifest.json"}
    return cache


def build_in_process(root: str, number: int, locked: bool, seconds: float, results: Any) -> None:
    """Build a cache whose states are ``number`` everywhere; say which shards this process computed."""
    if not locked:
        assert lock.fcntl is not None
        lock.fcntl.flock = lambda *arguments: None
    cache, computed = writer(Path(root)), []
    until = time.monotonic() + 60
    while (missing := cache.missing()) or not cache.finish():
        assert time.monotonic() < until, "the others never came to an end"
        for index in missing:
            with cache.claim(index) as mine:
                if mine:
                    time.sleep(seconds)  # the language model
                    tokens = of_items(states(), cache.shards[index])
                    computed.append(index)
                    cache.write(index, torch.full_like(tokens, number))
        time.sleep(0.002)
    results.put((number, computed))
