"""Reading a cache: verified when it is opened, mapped, and gathered by item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from legorec.data.ragged import offsets_of
from legorec.files.digest import digest_files
from legorec.files.manifest import MANIFEST, Refusal, Verify, check_digests, check_sizes, check_verify
from legorec.lm.state_cache.finding import find
from legorec.lm.state_cache.identity import CacheError, CacheIdentity
from legorec.lm.state_cache.shards import AGAIN, TORCH_TYPES, Shard, shards_of
from legorec.nn.row_places import row_places
from legorec.nn.sending import sent

REFUSAL = Refusal(
    "a cache of hidden states",
    CacheError,
    AGAIN,
    if_missing="start the cache run again, it writes what is missing",
)


class HiddenStateCache:
    """Hidden states of every item of a catalogue at one depth, on the disk; see ``open``.

    Reading touches file backed pages alone, which the system may drop again: the cache may be larger than
    the memory. A file that is cut short while it is mapped kills the process, as with any mapped file.
    A copy is the cache itself. A pickle names the folder, where the cache is opened and verified again.
    """

    def __init__(self, identity: CacheIdentity, shards: Sequence[Shard]) -> None:
        self.identity = identity
        self.folder = shards[0].path.parent.resolve() if shards else None
        self._first_rows = np.array([shard.items.start for shard in shards], dtype=np.int64)
        mapped = [shard.map() for shard in shards]
        self._shards = [values for values, _ in mapped]
        none = np.empty(0, dtype=np.int64)
        self._starts = np.concatenate([none, *(offsets[:-1] for _, offsets in mapped)])  # within the shard
        self._lengths = np.concatenate([none, *(np.diff(offsets) for _, offsets in mapped)])
        self.num_items = len(self._lengths)
        self.num_tokens = int(self._lengths.sum())

    @classmethod
    def open(cls, root: Path | str, identity: CacheIdentity, verify: Verify = "digest") -> HiddenStateCache:
        """The cache of this identity below ``root``.

        Args:
            verify: ``digest`` holds the content of every shard against its digest, remembered by size, times
                and inode; ``full`` reads every byte again; ``size`` looks at sizes and headers alone.
        Raises:
            CacheError: it is not there, unfinished, altered, or of another identity.
        """
        manifest = find(Path(root), identity)
        facts = manifest["shards"]
        rows = [range(*fact["items"]) for fact in facts]
        folder = Path(root) / identity.folder_name
        shards = shards_of(folder, identity, rows, [fact["tokens"] for fact in facts])
        _verify(shards, facts, verify)
        cache = cls(identity, shards)
        if (cache.num_items, cache.num_tokens) != (manifest["num_items"], manifest["num_tokens"]):
            raise CacheError(
                f"{folder}: {cache.num_items} items with {cache.num_tokens} tokens, {MANIFEST} says "
                f"{manifest['num_items']} with {manifest['num_tokens']}; remove the folder and build it again"
            )
        return cache

    def __deepcopy__(self, memo: dict[int, Any]) -> HiddenStateCache:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self.folder is None:
            return HiddenStateCache, (self.identity, [])
        return HiddenStateCache.open, (self.folder.parent, self.identity)

    @property
    def depth(self) -> int:
        """Layers already applied."""
        return self.identity.depth

    @property
    def width(self) -> int:
        """Of one hidden state."""
        return self.identity.width

    @property
    def dtype(self) -> torch.dtype:
        """Of what ``gather`` gives."""
        return TORCH_TYPES[self.identity.dtype]

    @property
    def nbytes(self) -> int:
        """Size of all states."""
        return self.num_tokens * self.width * self.dtype.itemsize

    @property
    def lengths(self) -> Tensor:
        """(N,) int64 on the host, tokens of each item."""
        return torch.from_numpy(self._lengths)

    def num_tokens_of(self, items: Tensor) -> int:
        """How many states ``gather`` gives for these items."""
        return int(self._lengths[self._rows(items)].sum())

    def gather(self, items: Tensor, out: Tensor | None = None) -> Tensor:
        """States (T, E) of ``items``, packed in their order, on the host.

        Args:
            items: (n,) int64 on the host, rows of the catalogue; any order, repeats allowed.
            out: a buffer of at least T rows, perhaps pinned; the result is its beginning.
        """
        rows = self._rows(items)
        offsets = offsets_of(self._lengths[rows])
        values_TE = self._buffer(int(offsets[-1]), out)
        if len(values_TE) == 0:
            return values_TE
        shard_of = np.searchsorted(self._first_rows, rows, side="right") - 1
        if (rows[1:] - rows[:-1] == 1).all():  # one range: a copy, without an index
            for shard, part in _runs(shard_of):
                start, stop = offsets[part.start], offsets[part.stop]
                first = self._starts[rows[part.start]]
                values_TE[start:stop] = self._shards[shard][first : first + (stop - start)]
        elif (shard_of[1:] >= shard_of[:-1]).all():
            for shard, part in _runs(shard_of):
                start, stop = offsets[part.start], offsets[part.stop]
                places = torch.from_numpy(row_places(self._starts[rows[part]], self._lengths[rows[part]]))
                torch.index_select(self._shards[shard], 0, places, out=values_TE[start:stop])
        else:
            order = np.argsort(shard_of, kind="stable")
            for shard, part in _runs(shard_of[order]):
                chosen = order[part]
                lengths = self._lengths[rows[chosen]]
                found_TE = self._shards[shard].index_select(
                    0, torch.from_numpy(row_places(self._starts[rows[chosen]], lengths))
                )
                values_TE.index_copy_(0, torch.from_numpy(row_places(offsets[chosen], lengths)), found_TE)
        return values_TE

    def resident(self, device: torch.device | str) -> ResidentStates:
        """All states on a device (``nbytes`` of its memory)."""
        values_TE = torch.empty(self.num_tokens, self.width, dtype=self.dtype, device=device)
        start = 0
        for shard in self._shards:
            values_TE[start : start + len(shard)].copy_(shard)
            start += len(shard)
        return ResidentStates(values_TE, self.lengths)

    def _rows(self, items: Tensor) -> np.ndarray:
        return _checked(items, self.num_items)

    def _buffer(self, num_tokens: int, out: Tensor | None) -> Tensor:
        if out is None:
            return torch.empty(num_tokens, self.width, dtype=self.dtype)
        fits = out.dim() == 2 and len(out) >= num_tokens and out.shape[1] == self.width
        if not fits or out.dtype != self.dtype or out.device.type != "cpu" or not out.is_contiguous():
            raise ValueError(
                f"`out` must be at least ({num_tokens}, {self.width}) {self.dtype}, on the host and "
                f"contiguous, got {tuple(out.shape)} {out.dtype} on {out.device}"
            )
        return out[:num_tokens]


class ResidentStates:
    """Hidden states of every item as one tensor on a device.

    Args:
        values_TE: all states, packed in the order of the items.
        lengths: (N,) int64 on the host.
    """

    def __init__(self, values_TE: Tensor, lengths: Tensor) -> None:
        self.values = values_TE
        self.lengths = lengths
        self._lengths = lengths.numpy()
        self._starts = offsets_of(self._lengths)[:-1]

    def gather(self, items: Tensor) -> Tensor:
        """States (T, E) of ``items`` (n,), ids on the host, packed in their order, on the device.

        The index is built on the host, so nothing waits for the device.
        """
        rows = _checked(items, len(self._lengths))
        places = row_places(self._starts[rows], self._lengths[rows])
        return self.values.index_select(0, *sent(self.values.device, places))


def _verify(shards: Sequence[Shard], facts: Sequence[dict[str, Any]], verify: Verify) -> None:
    """Hold every shard against its size, its header and its digest in the manifest."""
    check_verify(verify)
    noted = {
        shard.path: {"bytes": shard.num_bytes, "blake2b": fact["blake2b"]}
        for shard, fact in zip(shards, facts, strict=True)
    }
    check_sizes(noted, REFUSAL)
    for shard in shards:
        if not shard.is_complete():
            raise REFUSAL(shard.path, "its header is not that of this shard of this cache")
    if verify != "size":
        check_digests(noted, digest_files(noted, remembered=verify == "digest"), REFUSAL)


def _checked(items: Tensor, num_items: int) -> np.ndarray:
    """Item rows as numpy."""
    if items.dim() != 1 or items.dtype != torch.int64 or items.device.type != "cpu":
        raise ValueError(
            f"`items` must be (n,) int64 on the host, got {tuple(items.shape)} {items.dtype} "
            f"on {items.device}"
        )
    rows = items.numpy()
    if len(rows) and not (0 <= rows.min() and rows.max() < num_items):
        wrong = int(rows.min()) if rows.min() < 0 else int(rows.max())
        raise ValueError(f"`items` must be rows of the cached catalogue, 0 to {num_items - 1}, got {wrong}")
    return rows


def _runs(values: np.ndarray) -> Iterator[tuple[int, slice]]:
    """(value, where) for each run of equal values."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        yield int(values[start]), slice(start, stop)
