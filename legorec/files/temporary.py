"""Names of temporary files that tell who writes them, and removing those of writers that are gone."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import time
from functools import cache
from pathlib import Path

STALE_SECONDS = 3600.0  # files are written in seconds, and a file's time moves while it is


def temporary_beside(path: Path) -> Path:
    """A name of this process's own; it tells who wrote the file: where process numbers count, and which."""
    return path.with_name(f"{path.name}.tmp-{_process_space()}-{os.getpid()}-{secrets.token_hex(4)}")


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
