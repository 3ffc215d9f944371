"""Disks that do not take a file, for tests: a limit on the size of files, and small file systems."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import ROOT


@contextmanager
def files_up_to(num_bytes: int) -> Iterator[None]:
    """No file that this process writes may grow beyond this: short writes, and errors in every library.

    It is the system that says no, as on a full disk, with another number (EFBIG). Python has the signal that
    would come with it ignored.
    """
    resource = pytest.importorskip("resource", reason="this system has no limit on the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def limit(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, num_bytes: int, at: Callable[..., bool]
) -> list[bool]:
    """Let calls of a function write no larger files, where ``at`` says so of its arguments.

    Returns: whether each call was limited, so far.
    """
    function, calls = getattr(owner, name), []

    def limited(*given: Any, **named: Any) -> Any:
        calls.append(at(*given, **named))
        if not calls[-1]:
            return function(*given, **named)
        with files_up_to(num_bytes):
            return function(*given, **named)

    monkeypatch.setattr(owner, name, limited)
    return calls


def no_space(*_: Any, **__: Any) -> None:
    """In the place of a function that needs room."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def left_overs(folder: Path) -> list[Path]:
    """Temporary files and folders, of the names that the library gives them."""
    return [path for path in folder.rglob("*") if ".tmp" in path.name or path.name.startswith("digests-")]


@cache
def namespace() -> list[str] | str:
    """The start of a command whose process may mount what it likes, or why there is none."""
    said = "unshare is not installed"
    for form in (["unshare", "--map-root-user", "--mount"], ["unshare", "--mount"]):
        try:
            done = subprocess.run(
                [*form, "mount", "-t", "tmpfs", "-o", "size=4k", "none", "/tmp"],  # noqa: S108
                capture_output=True,
                text=True,
            )
        except OSError:
            break
        if done.returncode == 0:
            return form
        said = done.stderr.strip()
    return f"no file system can be mounted here: {said}"


def with_small_disks(module: str, job: str, folder: Path) -> None:
    """Run a function of a module of tests in a process that may use ``small_disk``.

    Args:
        folder: what the function is given.
    """
    form = namespace()
    if isinstance(form, str):
        pytest.skip(form)
    code = f"from pathlib import Path; from {module} import {job}; {job}(Path({str(folder)!r}))"
    done = subprocess.run(
        [*form, sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@contextmanager
def small_disk(folder: Path, num_bytes: int) -> Iterator[Callable[[int], None]]:
    """A file system of its own in a folder; the function that is given sets its size anew."""
    folder.mkdir(exist_ok=True)

    def mount(*options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", *options, "none", str(folder)], check=True)

    mount(f"size={num_bytes}")
    try:
        yield lambda size: mount(f"remount,size={size}")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
