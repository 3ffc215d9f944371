"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from legorec.data.files import MANIFEST, StoreError, flush


class NewFolder:
    """A temporary folder beside ``path`` that is renamed to it by ``commit``.

    Args:
        overwrite: a store (or an empty folder) at ``path`` is replaced, at the moment of ``commit``; anything
            else there is never touched.
    """

    def __init__(self, path: Path, overwrite: bool = False) -> None:
        if path.name in ("", ".", "..") or ".." in path.name:
            raise StoreError(f"{path}: the name of a store may not hold '..'")
        if path.is_symlink():
            raise StoreError(f"{path}: a symbolic link; name the folder itself")
        self.path = path
        self.overwrite = overwrite
        self._check()
        self.temporary = path.with_name(f"{path.name}.tmp-{secrets.token_hex(4)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.temporary.mkdir()

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
        self._check()  # again: another process may have been faster
        for folder, _, _ in os.walk(self.temporary):
            flush(Path(folder))
        old = self.path.with_name(self.temporary.name.replace(".tmp-", ".old-"))
        if self.path.exists():
            self.path.rename(old)
        try:
            self.temporary.rename(self.path)
        except OSError:
            if old.exists():
                old.rename(self.path)
            raise
        flush(self.path.parent)
        shutil.rmtree(old, ignore_errors=True)

    def discard(self) -> None:
        """Remove what was written so far."""
        shutil.rmtree(self.temporary, ignore_errors=True)
