"""Writing to a disk, and the one line that says why it did not take a file."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import polars as pl
from safetensors import SafetensorError

How = Literal["", "about ", "at most "]  # a number of bytes is meant


class WriteError(OSError):
    """A file could not be written; the message says which, what it needs, what was free, and why."""


@contextmanager
def writing(
    path: Path,
    num_bytes: int | Callable[[], int] | None = None,
    how: How = "",
    then: str = "",
) -> Iterator[None]:
    """What goes wrong while ``path`` is written becomes one line, whatever library wrote it.

    A full disk has many faces: an ``OSError`` that names no file, and errors of its own from each library
    that writes without Python. Where one such block stands in another, the inner one tells.

    Args:
        num_bytes: what is written, all of it; a function is called only to tell.
        how: this number is meant.
        then: how the line ends: what becomes of the rest.

    Raises:
        WriteError: it could not be written. What is there of it is the caller's to remove.
    """
    free = free_bytes(path)
    try:
        yield
    except WriteError:
        raise
    except (OSError, SafetensorError, pl.exceptions.PolarsError) as problem:
        size = num_bytes() if callable(num_bytes) else num_bytes
        needed = "" if size is None else f"it needs {how}{size:,} bytes, "
        if getattr(problem, "errno", None) == errno.ENOSPC and free_names(path) == 0:
            needed = f"there is room for no more files (the disk's inodes are used up); {needed}"
        raise WriteError(
            f"{path}: could not be written, {needed}{free:,} bytes were free ({_reason(problem)}){then}"
        ) from problem


def _reason(problem: Exception) -> str:
    """What the system said, without what each library puts around it."""
    found = re.search(r"\(os error (\d+)\)", str(problem))  # of those written in Rust
    number = int(found[1]) if found else getattr(problem, "errno", None)
    return os.strerror(number) if number else str(problem)


def free_bytes(path: Path) -> int:
    """What the disk of a path has left, also where nothing is there yet."""
    there = path.absolute()
    while not os.path.exists(there):
        there = there.parent
    return shutil.disk_usage(there).free


def free_names(path: Path) -> int | None:
    """How many more files the disk of a path has room for, of whatever size; None where it does not say."""
    there = path.absolute()
    while not os.path.exists(there):
        there = there.parent
    try:
        facts = os.statvfs(there)
    except (OSError, AttributeError):  # Windows
        return None
    return int(facts.f_favail) if facts.f_files else None


def save_bytes(path: Path, data: bytes) -> None:
    """Write a file and flush it to the disk."""
    with writing(path, len(data)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        flush(path)


def share(path: Path) -> None:
    """Give a file the permissions of its folder; safetensors keeps what it writes to its owner."""
    path.chmod(path.parent.stat().st_mode & 0o666)


def flush(path: Path) -> None:
    """Ask the system to put a file, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as problem:
        problem.filename = str(path)  # which the system does not say
        raise
    finally:
        os.close(handle)
