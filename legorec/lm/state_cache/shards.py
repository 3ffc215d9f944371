"""The files of a cache: contiguous ranges of item rows, each a safetensors file of values and offsets.

Layout of a cache folder, ``<root>/depth-31-bf16-0a1b2c3d/``:

    identity.json            what the cache is of and how it is split; written first
    shard-00000.safetensors  offsets (items + 1,) int64 and values (T, E)
    shard-00000.json         its size and digest, for the builders
    manifest.json            identity, size and digest of every shard; written last
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from legorec.lm.state_cache.identity import CacheError, CacheIdentity, StoredType

SHARD_BYTES = 256 << 20
AGAIN = "start the cache run again, it writes anew what was altered"
TORCH_TYPES: dict[StoredType, torch.dtype] = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
}
_HEADER_TYPES: dict[StoredType, str] = {"bf16": "BF16", "fp16": "F16", "fp32": "F32"}
_BLOCK = 4 << 20


def plan_shards(
    lengths: np.ndarray, width: int, dtype: StoredType, shard_bytes: int = SHARD_BYTES
) -> list[range]:
    """Contiguous ranges of item rows of at most ``shard_bytes`` each, save for an item larger than that.

    Args:
        lengths: (N,) tokens of each item.
    """
    if shard_bytes < 1:
        raise ValueError(f"`shard_bytes` must be at least 1, got {shard_bytes}")
    token_bytes = width * TORCH_TYPES[dtype].itemsize
    ends = np.cumsum(lengths * token_bytes + 8)  # 8 for the item's offset
    shards, start, before = [], 0, 0
    while start < len(lengths):
        stop = max(int(np.searchsorted(ends, before + shard_bytes, side="right")), start + 1)
        shards.append(range(start, stop))
        start, before = stop, int(ends[stop - 1])
    return shards


@dataclass(frozen=True)
class Shard:
    """One file of a cache. Everything but the values follows from the identity and the lengths."""

    path: Path
    identity: CacheIdentity
    items: range
    num_tokens: int

    @cached_property
    def header(self) -> bytes:
        """How the file begins, known before it is written, so that another file is never taken for it."""
        begin = 8 * (len(self.items) + 1)
        shape = [self.num_tokens, self.identity.width]
        entries = {
            "__metadata__": {"shard": f"{self.identity.digest} {self.items.start}-{self.items.stop}"},
            "offsets": {"dtype": "I64", "shape": [len(self.items) + 1], "data_offsets": [0, begin]},
            "values": {
                "dtype": _HEADER_TYPES[self.identity.dtype],
                "shape": shape,
                "data_offsets": [begin, begin + self._value_bytes],
            },
        }
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (-(8 + len(text) + begin) % 64)  # so that the values begin at a multiple of 64
        return len(text).to_bytes(8, "little") + text

    @property
    def _value_bytes(self) -> int:
        return self.num_tokens * self.identity.width * TORCH_TYPES[self.identity.dtype].itemsize

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return len(self.header) + 8 * (len(self.items) + 1) + self._value_bytes

    def is_complete(self) -> bool:
        """Whether the file is there, begins as it should and has its size. The values are not read."""
        try:
            with open(self.path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                return size == self.num_bytes and file.read(len(self.header)) == self.header
        except FileNotFoundError:
            return False

    def save(self, path: Path, values: Tensor, offsets: np.ndarray) -> str:
        """Write the file at ``path``, flush it to the disk, and give its digest.

        Unlike ``safetensors.torch.save_file``, which writes beside ``path`` under a name of its own that a
        killed process leaves behind, keeps the file to its owner, and does not hash what it writes.
        """
        state = hashlib.blake2b(digest_size=16)
        with open(path, "xb") as file:
            parts = np.ascontiguousarray(offsets, dtype="<i8"), values.contiguous().view(torch.uint8).numpy()
            for data in (memoryview(self.header), *(part.reshape(-1).view(np.uint8).data for part in parts)):
                for start in range(0, len(data), _BLOCK):
                    block = data[start : start + _BLOCK]
                    state.update(block)
                    file.write(block)
            file.flush()
            os.fsync(file.fileno())
        return state.hexdigest()

    def map(self) -> tuple[Tensor, np.ndarray]:
        """Values (T, E), mapped: pages are read when touched and stay file backed; and the offsets.

        Raises:
            CacheError: the file is not the shard it should be.
        """
        if not self.is_complete():
            raise CacheError(f"{self.path}: the file is not this shard of this cache; {AGAIN}")
        try:
            with safe_open(self.path, framework="pt") as file:
                values, offsets = file.get_tensor("values"), file.get_tensor("offsets").numpy()
        except SafetensorError as problem:
            raise CacheError(f"{self.path}: not readable ({problem}); {AGAIN}") from None
        if offsets[0] != 0 or offsets[-1] != self.num_tokens or (np.diff(offsets) < 0).any():
            raise CacheError(f"{self.path}: its offsets were altered; {AGAIN}")
        return values, offsets


def shards_of(
    folder: Path, identity: CacheIdentity, items: Sequence[range], num_tokens: Sequence[int]
) -> list[Shard]:
    """The shards of a cache, in order."""
    return [
        Shard(folder / f"shard-{index:05d}.safetensors", identity, rows, tokens)
        for index, (rows, tokens) in enumerate(zip(items, num_tokens, strict=True))
    ]
