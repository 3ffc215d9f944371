"""Locks that end with their process, on a file or a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def hold(handle: int | IO[str], wait: bool = False) -> bool | None:
    """Lock an open file or folder until it is closed or the process ends.

    Args:
        wait: until another process that holds it lets it go.
    Returns: True where this process holds it now, False where another one does, None where the system has no
        such locks.
    Raises:
        OSError: the file system has no locks.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(path: Path, wait: bool = False, create: bool = False) -> Iterator[bool | None]:
    """Hold a folder, or a file made for this, during the block.

    Args:
        wait: as of ``hold``.
        create: ``path`` is a file, made where it is not there; else a folder.
    Yields: True or False as ``hold`` returns them; None where nothing can be locked, or no folder is there.
    """
    if fcntl is None or not (create or path.is_dir()):
        yield None
        return
    handle = os.open(path, os.O_CREAT | os.O_RDWR if create else os.O_RDONLY, 0o666)
    try:
        try:
            alone = hold(handle, wait)
        except OSError:
            alone = None
        yield alone
    finally:
        os.close(handle)
