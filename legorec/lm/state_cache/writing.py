"""Building a cache: shard by shard, by any number of processes, resumable at any point."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from legorec.data.ragged import offsets_of
from legorec.files.digest import remember, stamp_of
from legorec.files.disk import free_bytes, free_names, writing
from legorec.files.json_text import parse_json
from legorec.files.lock import locked
from legorec.files.manifest import MANIFEST, canonical, seal
from legorec.files.temporary import remove_leftovers, temporary_beside
from legorec.files.whole import place_first, save_whole
from legorec.lm.state_cache.finding import IDENTITY, KIND, read_plan
from legorec.lm.state_cache.identity import FORMAT, CacheError, CacheIdentity
from legorec.lm.state_cache.shards import SHARD_BYTES, TORCH_TYPES, Shard, plan_shards, shards_of
from legorec.lm.state_cache.signing import Signatures

FILES_OF_SHARD = 3  # itself, the note of its digest, its lock
FILES_BESIDE = 4  # two folders, the identity, the manifest


class CacheWriter:
    """Writes one cache. Nothing is on the disk before the first ``claim`` or ``write``.

    The caller goes through ``missing``, computes the states of the items of that shard, and writes them;
    writers of several depths are split alike if ``width``, ``dtype`` and ``lengths`` are. Several processes
    may do so at once: ``claim`` keeps them off each other's shards, and where it cannot, the first file
    written stays. A process that finds all missing shards claimed by others waits and asks again::

        while missing := writer.missing():
            for index in missing:
                with writer.claim(index) as mine:
                    if mine:
                        writer.write(index, states_of(writer.shards[index]))
        writer.finish()

    Args:
        root: the folder of all caches.
        lengths: (N,) int64, tokens of each item.
    Raises:
        CacheError: a cache of this identity was begun with other lengths or another ``shard_bytes``.
    """

    def __init__(
        self,
        root: Path | str,
        identity: CacheIdentity,
        lengths: np.ndarray,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        if lengths.ndim != 1 or lengths.dtype != np.int64 or (lengths < 0).any():
            raise ValueError(
                f"`lengths` must be (N,) int64 and not negative, got {lengths.shape} {lengths.dtype}"
            )
        if identity.format != FORMAT:
            raise ValueError(f"`format` must be {FORMAT}, which this program writes, got {identity.format}")
        self.identity = identity
        self.folder = Path(root) / identity.folder_name
        self.shards = plan_shards(lengths, identity.width, identity.dtype, shard_bytes)
        self._offsets = offsets_of(lengths)
        tokens = [int(self._offsets[rows.stop] - self._offsets[rows.start]) for rows in self.shards]
        self._files = shards_of(self.folder, identity, self.shards, tokens)
        self._signatures = Signatures(self.folder)
        self._written: dict[Path, str] = {}
        self._held = False
        self._alone: set[int] = set()  # shards that are locked for this writer
        if (self.folder / IDENTITY).exists():
            self._hold_against_plan()

    def missing(self) -> list[int]:
        """Shards that are not on the disk as they were computed.

        Raises:
            CacheError: a folder lies in the place of one.
        """
        return [index for index, file in enumerate(self._files) if self._signatures.of(file) is None]

    def altered(self) -> list[Path]:
        """Of the missing shards, the files that are there: cut, altered, or never signed by their builder."""
        files = [self._files[index].path for index in self.missing()]
        return [path for path in files if os.path.lexists(path)]

    def bytes_needed(self) -> int:
        """What the missing shards will take."""
        return sum(self._files[index].num_bytes for index in self.missing())

    def files_needed(self) -> int:
        """How many files the missing shards will take at most, with their locks and signatures."""
        missing = len(self.missing())
        return FILES_OF_SHARD * missing + FILES_BESIDE if missing else 0

    @contextmanager
    def claim(self, index: int) -> Iterator[bool]:
        """True if this process should write the shard: it is missing and nobody else is at it."""
        file = self._files[index]
        if self._signatures.of(file) is not None:
            yield False
            return
        self._begin()
        with locked(file.path.with_suffix(".lock"), create=True) as alone:
            # Without locks several may write one shard: the first file stays. Or its writer was just done.
            self._alone |= {index} if alone else set()
            try:
                yield alone is not False and self._signatures.of(file) is None
            finally:
                self._alone.discard(index)

    def write(self, index: int, values_TE: Tensor) -> None:
        """Put a shard on the disk; one that is there as its builder wrote it stays.

        Args:
            values_TE: states of the items ``shards[index]``, packed, on the host, of any float dtype.
        Raises:
            ValueError: a state is not finite, or does not fit the dtype of the cache; nothing is written.
            WriteError: the disk is full, or fails otherwise; says how many bytes were needed.
        """
        file = self._files[index]
        stored_TE = self._stored(file, values_TE)
        if self._signed(index):
            return
        temporary = temporary_beside(file.path)
        offsets = self._offsets[file.items.start : file.items.stop + 1]
        then = "; what was written so far stays, and the cache run goes on from there"
        try:
            with writing(file.path, file.num_bytes, then=then):
                self._begin()
                digest = file.save(temporary, stored_TE, offsets - offsets[0])
                own = _file_itself(temporary)
                if os.path.lexists(file.path) and not self._signed(index):
                    self._signatures.remove(file)  # altered, unsigned or a link: must not win
                if index in self._alone:  # a kill between file and signature then loses nothing
                    self._signatures.sign(file, digest, stamp=[])
                if place_first(temporary, file.path):
                    temporary.unlink(missing_ok=True)  # first, as that changes the stamp
                    self._sign(file, digest, own)
        finally:
            temporary.unlink(missing_ok=True)

    def finish(self) -> bool:
        """Write the manifest if every shard is there, and remove what builders left behind.

        Returns: whether the cache is complete. May be called again, and by several processes at once.
        """
        if self.missing():
            return False
        self._begin()  # a cache without items has no shard that did
        for file in self._files:
            self._signatures.renew(file)
        digests = {file.path: self._signatures.of(file) for file in self._files}
        if None in digests.values():  # altered, or replaced by another builder, just now
            return False
        shards = [
            {
                "items": [file.items.start, file.items.stop],
                "tokens": file.num_tokens,
                "bytes": file.num_bytes,
                "blake2b": digests[file.path],
            }
            for file in self._files
        ]
        manifest = seal(self._plan() | {"shards": shards})
        if _read(self.folder / MANIFEST) != manifest:
            save_whole(self.folder / MANIFEST, canonical(manifest))
        remove_leftovers(self.folder)
        # What this process wrote need not be read to be trusted; what others wrote is, once.
        own = [file.path for file in self._files if self._signatures.unchanged(file)]
        remember({path: self._written[path] for path in own if digests[path] == self._written.get(path)})
        return True

    def _signed(self, index: int) -> bool:
        file = self._files[index]
        return (self._signatures.of if index in self._alone else self._signatures.wait)(file) is not None

    def _sign(self, file: Shard, digest: str, own: tuple[int, ...]) -> None:
        """Sign a shard that was just put in its place, unless another builder has removed or replaced it."""
        try:
            stamp, placed = stamp_of(file.path), _file_itself(file.path)
        except FileNotFoundError:  # taken for unsigned, where there are no locks: it counts as missing
            return
        if placed == own:
            self._written[file.path] = digest
            self._signatures.sign(file, digest, stamp)

    def _begin(self) -> None:
        path = self.folder / IDENTITY
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            save_whole(path, canonical(seal(self._plan())), first=True)
        if not self._held:  # another process may have been faster
            self._hold_against_plan()

    def _plan(self) -> dict[str, Any]:
        return {
            "format": KIND,
            "identity": asdict(self.identity),
            "num_items": len(self._offsets) - 1,
            "num_tokens": int(self._offsets[-1]),
            "shards": [[rows.start, rows.stop] for rows in self.shards],
        }

    def _hold_against_plan(self) -> None:
        path = self.folder / IDENTITY
        found = read_plan(path, f"remove the folder {self.folder} and start the cache run again")
        wanted = seal(self._plan())
        if found != wanted:
            names = ", ".join(name for name in wanted if name != "digest" and found.get(name) != wanted[name])
            raise CacheError(
                f"{path}: this cache was begun with other {names} (other lengths or `shard_bytes`); "
                f"give the same, or remove the folder {self.folder}"
            )
        self._held = True

    def _stored(self, file: Shard, values_TE: Tensor) -> Tensor:
        """The values as they will lie on the disk."""
        shape = (file.num_tokens, self.identity.width)
        if (
            tuple(values_TE.shape) != shape
            or not values_TE.is_floating_point()
            or values_TE.device.type != "cpu"
        ):
            raise ValueError(
                f"the states of items {file.items.start} to {file.items.stop - 1} must be {shape} floats "
                f"on the host, got {tuple(values_TE.shape)} {values_TE.dtype} on {values_TE.device}"
            )
        stored_TE = values_TE.detach().to(TORCH_TYPES[self.identity.dtype])
        if stored_TE.numel() == 0:
            return stored_TE
        least, most = stored_TE.aminmax()  # NaN and infinity show in these, without a mask of that size
        if not (least.isfinite() and most.isfinite()):
            self._refuse(file, values_TE, stored_TE)
        return stored_TE

    def _refuse(self, file: Shard, values_TE: Tensor, stored_TE: Tensor) -> None:
        """Name the first item whose states cannot be stored."""
        token = int((~stored_TE.isfinite()).any(1).nonzero()[0])
        place = self._offsets[file.items.start] + token
        row = int(np.searchsorted(self._offsets, place, side="right")) - 1
        where = f"the hidden states of item row {row} at depth {self.identity.depth}"
        if not values_TE[token].isfinite().all():
            raise ValueError(
                f"{where} are not finite; nothing of this shard was written. The lower layers overflow in "
                f"'{self.identity.compute}' or the weights are damaged; compute in fp32 and look at that item"
            )
        largest, limit = float(values_TE[token].abs().max()), torch.finfo(stored_TE.dtype).max
        wider = "bf16" if self.identity.dtype == "fp16" else "fp32"
        raise ValueError(
            f"{where} reach {largest:.6g}, more than {self.identity.dtype} can hold ({limit:.6g}); "
            f"nothing of this shard was written; store them as `dtype: {wider}`"
        )


def _file_itself(path: Path) -> tuple[int, ...]:
    """What tells a file from others, whatever its name."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


def _read(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def free_space_check(root: Path | str, num_bytes: int, num_files: int = 0) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        OSError: fewer than ``num_bytes`` are free where ``root`` is, or will be, or there is room for fewer
            than ``num_files`` files.
    """
    names = free_names(Path(root))
    if names is not None and names < num_files:
        raise OSError(
            f"the cache needs {num_files:,} files, the disk of {root} has room for {names:,} more, whatever "
            "their size (its inodes are used up); name another folder, or write larger shards (--shard_mb)"
        )
    free = free_bytes(Path(root))
    if free < num_bytes:
        raise OSError(
            f"the cache needs {_size(num_bytes)}, {_size(free)} are free in {root}; "
            "name another folder, cache fewer depths, or store them as bf16"
        )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 10_000_000 else f"{num_bytes:,} bytes"
