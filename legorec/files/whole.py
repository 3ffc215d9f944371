"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from legorec.files.disk import How, flush, share, writing
from legorec.files.temporary import temporary_beside


@contextmanager
def written_whole(
    path: Path, num_bytes: int | Callable[[], int] | None = None, how: How = "", first: bool = False
) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when the block ends without an exception.

    Args:
        num_bytes: as of ``writing``, likewise ``how``.
        first: leave a file that is there as it is.
    Raises:
        WriteError: the disk is full, or may not be written; ``path`` is as it was.
    """
    temporary = temporary_beside(path)
    try:
        with writing(path, num_bytes, how):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            share(temporary)
            flush(temporary)
            if first:
                place_first(temporary, path)
            else:
                os.replace(temporary, path)
                flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def save_whole(path: Path, data: bytes, first: bool = False) -> None:
    """Replace a file in one step: a reader sees the old or the new one. Arguments as of ``written_whole``."""
    with written_whole(path, len(data), first=first) as temporary:
        temporary.write_bytes(data)


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


@contextmanager
def all_or_none(folder: Path, prefix: str) -> Iterator[Path]:
    """A folder to write files into, which are moved into ``folder`` when all went well.

    Args:
        prefix: of its name; what an earlier process left under it is removed.
    """
    for left_over in folder.glob(f"{prefix}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    partial = folder / f"{prefix}{os.getpid()}"
    partial.mkdir()
    try:
        yield partial
        files = sorted(partial.iterdir())
        for file in files:
            with writing(folder / file.name, file.stat().st_size):
                flush(file)
        for file in files:
            os.replace(file, folder / file.name)
        flush(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def folder_whole(path: Path, num_bytes: int, how: How = "", then: str = "") -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends without an exception.

    The block flushes what it writes; a folder that was there is removed only after that.

    Args:
        num_bytes: as of ``writing``, likewise ``how`` and ``then``.
    Raises:
        WriteError: the disk is full, or may not be written; ``path`` is as it was.
    """
    partial, earlier = (path.with_name(f"{path.name}.{kind}-{os.getpid()}") for kind in ("tmp", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with writing(path, num_bytes, how, then):
            partial.mkdir(parents=True)
            yield partial
            put_folder(partial, path, earlier)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(earlier, ignore_errors=True)


def put_folder(new: Path, path: Path, earlier: Path) -> None:
    """Rename a finished folder to ``path``; what is there becomes ``earlier``, and is put back on failure."""
    if path.exists():
        os.replace(path, earlier)
    try:
        os.replace(new, path)
    except BaseException:
        if earlier.exists() and not path.exists():  # else another writer, without locks, was faster
            os.replace(earlier, path)
        raise
    flush(path.parent)
