"""Which shards are as they were computed: those with a digest that their builder noted.

A whole file without such a digest, or with another one, counts as missing. Whoever signed what merely lies
there would vouch for bytes that no model computed.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from legorec.files.digest import Stamp, digest_files, stamp_of
from legorec.files.json_text import parse_json
from legorec.files.manifest import MANIFEST, canonical, seal
from legorec.files.whole import save_whole
from legorec.lm.state_cache.finding import read_plan
from legorec.lm.state_cache.identity import CacheError
from legorec.lm.state_cache.shards import Shard

PENDING_SECONDS = 2.0  # in which a builder signs what it has just put in its place


class Signatures:
    """The noted digests of the shards of one cache: a note beside each shard, and the manifest.

    A note holds the stamp of the file it was made for, so that a file that nobody touched need not be read.
    """

    def __init__(self, folder: Path) -> None:
        self._manifest = folder / MANIFEST
        self._verified: dict[Path, tuple[Stamp, str]] = {}

    def of(self, shard: Shard) -> str | None:
        """The digest of a shard that is as it was written; None where it is missing or is another by now.

        Raises:
            CacheError: a folder lies in its place.
        """
        path = shard.path
        if path.is_dir() and not path.is_symlink():
            raise CacheError(f"{path}: a folder, where a file of the cache belongs; move it away")
        try:
            if path.is_symlink() or not shard.is_complete():
                return None
            stamp = stamp_of(path)
            known = self._verified.get(path)
            digest = known[1] if known is not None and known[0] == stamp else self._verify(shard, stamp)
        except FileNotFoundError:  # another builder is replacing it
            return None
        if digest is not None:
            self._verified[path] = stamp, digest
        return digest

    def wait(self, shard: Shard) -> str | None:
        """As ``of``, after a builder that has just put the file there had the time to sign it.

        Where there are no locks, another one may be between the two.
        """
        while (digest := self.of(shard)) is None and self._is_pending(shard):
            time.sleep(0.01)
        return digest

    def remove(self, shard: Shard) -> None:
        """Remove what lies in the place of a shard, and first what was noted of it."""
        _note_of(shard).unlink(missing_ok=True)
        shard.path.unlink(missing_ok=True)

    def sign(self, shard: Shard, digest: str, stamp: Stamp) -> None:
        """Note the digest of a file that this process wrote, or verified, when it had this stamp."""
        save_whole(_note_of(shard), canonical(_note(shard, digest, stamp)))
        self._verified[shard.path] = stamp, digest

    def renew(self, shard: Shard) -> None:
        """Write the note again where it is missing, was altered, or is of a file that was moved since."""
        stamp, digest = self._verified[shard.path]
        if _read(_note_of(shard)) != _note(shard, digest, stamp):
            self.sign(shard, digest, stamp)

    def unchanged(self, shard: Shard) -> bool:
        """Whether a shard still has the stamp with which it was verified last."""
        try:
            return shard.path in self._verified and self._verified[shard.path][0] == stamp_of(shard.path)
        except FileNotFoundError:  # another builder is replacing it
            return False

    def _verify(self, shard: Shard, stamp: Stamp) -> str | None:
        note = _read(_note_of(shard))
        note = note if isinstance(note, dict) else {}
        if note == _note(shard, str(note.get("blake2b")), stamp):
            return str(note["blake2b"])
        noted = {note.get("blake2b"), self._in_manifest(shard)} - {None}
        digest = digest_files([shard.path])[shard.path] if noted else None
        return digest if digest in noted else None

    def _is_pending(self, shard: Shard) -> bool:
        if not shard.is_complete() or shard.path.is_symlink() or _note_of(shard).exists():
            return False
        try:
            return abs(time.time() - shard.path.stat().st_mtime) < PENDING_SECONDS
        except FileNotFoundError:
            return False

    def _in_manifest(self, shard: Shard) -> str | None:
        try:
            facts = read_plan(self._manifest, "")["shards"] if self._manifest.is_file() else []
        except CacheError:
            return None
        items = [shard.items.start, shard.items.stop]
        return next((str(fact["blake2b"]) for fact in facts if fact["items"] == items), None)


def _note_of(shard: Shard) -> Path:
    return shard.path.with_suffix(".json")


def _note(shard: Shard, digest: str, stamp: Stamp) -> dict[str, Any]:
    """What is noted of a shard; sealed, as its digest goes into the manifest without the file being read."""
    return seal(
        {
            "bytes": shard.num_bytes,
            "blake2b": digest,
            "first": shard.items.start,
            "last": shard.items.stop - 1,
            "stamp": stamp,
        }
    )


def _read(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
