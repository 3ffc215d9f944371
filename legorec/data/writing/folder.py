"""The folder of a store that is being written."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from legorec.data.layout import StoreError
from legorec.files.disk import flush
from legorec.files.lock import hold, locked
from legorec.files.manifest import MANIFEST, fact_of, save_json, seal
from legorec.files.whole import put_folder

# Behind the name of a store. Long enough that nobody's own copy, as `MIND.old-20240131`, is taken for one.
_TEMPORARY, _OLD = re.compile(r"\.tmp-[0-9a-f]{16}(\.gone)?"), re.compile(r"\.old-[0-9a-f]{16}")


class NewFolder:
    """A temporary folder beside ``path`` that is renamed to it by ``commit``.

    It is locked while its process lives, so that one that was left by a killed process is told from one that
    is being written. What was left is removed, and a store that was about to be replaced is put back.

    Args:
        overwrite: a store (or an empty folder) at ``path`` is replaced, at the moment of ``commit``; anything
            else there is never touched.

    Raises:
        StoreError: something at ``path`` must stay, or another process is writing it.
    """

    def __init__(self, path: Path, overwrite: bool = False) -> None:
        if path.name in ("", ".", "..") or ".." in path.name:
            raise StoreError(f"{path}: the name of a store may not hold '..'")
        if path.is_symlink():
            raise StoreError(f"{path}: a symbolic link; name the folder itself")
        self.path = path
        self.overwrite = overwrite
        self._check()
        self.temporary = path.with_name(f"{path.name}.tmp-{secrets.token_hex(8)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.parent, wait=True) as alone:
            if alone:
                _tidy(path)
                self._check()
            self.temporary.mkdir()
            handle = os.open(self.temporary, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks
                hold(handle)
        # Also where the writer is dropped, or the process has to end before it is done.
        self._remove = weakref.finalize(self, _remove, self.temporary, handle)

    def _check(self) -> None:
        """Refuse to take the place of something that must stay."""
        path = self.path
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            return
        if not (path / MANIFEST).is_file():
            raise StoreError(f"{path}: it exists and is not a data store; it is left as it is")
        if not self.overwrite:
            raise StoreError(f"{path}: it exists; give another name, or --overwrite to replace it")

    def commit(self) -> None:
        """Put the folder in its place."""
        for folder, _, _ in os.walk(self.temporary):
            flush(Path(folder))
        old = self.path.with_name(self.temporary.name.replace(".tmp-", ".old-"))
        with locked(self.path.parent, wait=True), locked(self.path, wait=True):
            self._check()  # again: another process may have been faster
            put_folder(self.temporary, self.path, old)
        shutil.rmtree(old, ignore_errors=True)

    def discard(self) -> None:
        """Remove what was written so far."""
        self._remove()


def _remove(folder: Path, handle: int) -> None:
    gone = folder.with_name(f"{folder.name}.gone")
    with suppress(OSError):  # it is in its place, or removed
        # In one step, so that nothing of it can be put in its place meanwhile by another thread.
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
    os.close(handle)


def _tidy(path: Path) -> None:
    """Remove what killed writers left beside ``path``; no other process may do so at the same time.

    Raises:
        StoreError: one of them is still writing.
    """
    beside = [each for each in path.parent.iterdir() if each.name.startswith(path.name)]
    for left in beside:
        if _TEMPORARY.fullmatch(left.name.removeprefix(path.name)):
            with suppress(OSError), locked(left) as alone:  # it may just have gone
                if alone:
                    shutil.rmtree(left, ignore_errors=True)
                elif left.is_dir():
                    raise StoreError(f"{path}: another process is writing it; wait for it or stop it")
    for old in beside:
        if _OLD.fullmatch(old.name.removeprefix(path.name)):
            if path.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:  # killed between the two renames
                old.rename(path)


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Write the manifest with size and digest of every other file; returns the digests."""
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path != folder / MANIFEST
    )
    facts = {name: fact_of(folder / name) for name in names}
    save_json(folder / MANIFEST, seal({**manifest, "files": facts}))
    return {name: fact["blake2b"] for name, fact in facts.items()}
