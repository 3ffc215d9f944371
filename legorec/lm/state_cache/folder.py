"""Files that appear whole or not at all, though several processes write them and any may be killed."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from legorec.data.disk import flush, writing
from legorec.data.files import canonical

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

STALE_SECONDS = 3600.0  # a shard is written in seconds, and its file's time moves while it is


def temporary_beside(path: Path) -> Path:
    """A name of this process's own; it tells who wrote the file: where process numbers count, and which."""
    return path.with_name(f"{path.name}.tmp-{_process_space()}-{os.getpid()}-{secrets.token_hex(4)}")


def place_first(temporary: Path, path: Path) -> bool:
    """Put a finished file in its place unless one is there. True where this one is there now.

    Readers may have mapped what is there, and its digest may be in a manifest: the first one stays.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links; between these two lines another may be faster
        if path.exists():
            return False
        os.replace(temporary, path)
    flush(path.parent)
    return True


def write_json(path: Path, value: Any, first: bool = False) -> None:
    """Write a JSON file, flushed and at once.

    Args:
        first: leave a file that is there as it is.
    """
    temporary, data = temporary_beside(path), canonical(value)
    try:
        with writing(path, len(data)):
            temporary.write_bytes(data)
            flush(temporary)
            if first:
                place_first(temporary, path)
            else:
                os.replace(temporary, path)
                flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def lock(path: Path) -> Iterator[bool]:
    """Whether this process may do what ``path`` stands for; never waits.

    A lock goes with its process. Where there are no locks the answer is yes for everyone: locks save work,
    and nothing else may depend on them.
    """
    if fcntl is None:
        yield True
        return
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except BlockingIOError:
            mine = False
        except OSError:
            mine = True
        yield mine
    finally:
        os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove locks, and temporary files whose writers are gone."""
    for path in folder.glob("*.lock"):
        path.unlink(missing_ok=True)
    for path in folder.glob("*.tmp-*"):
        if _is_stale(path):
            path.unlink(missing_ok=True)


def _is_stale(path: Path) -> bool:
    """Whether nobody writes this file any more: its process is gone, or it is old."""
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    space, _, rest = path.name.rpartition(".tmp-")[2].partition("-")
    number = rest.partition("-")[0]
    if space == _process_space() != "any" and number.isdecimal():
        return not _is_alive(int(number))
    return age > STALE_SECONDS


def _is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@cache
def _process_space() -> str:
    """Where process numbers mean the same: this host since it was started, and this container; else any."""
    try:
        facts = [
            platform.node(),
            Path("/proc/sys/kernel/random/boot_id").read_text(),
            os.readlink("/proc/self/ns/pid"),
        ]
    except OSError:
        return "any"
    return hashlib.blake2b("\n".join(facts).encode(), digest_size=4).hexdigest()
