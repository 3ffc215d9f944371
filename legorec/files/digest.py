"""Digests of files, remembered by size, times and inode.

A store of several gigabytes is read once to know its digest; opening it again costs a few ``stat`` calls.
What is remembered lies in the user's cache folder (``XDG_CACHE_HOME``) and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from legorec.files.json_text import parse_json

# A file changed again within one tick of the file system's clock keeps its time, so a digest taken this soon
# after the last change is not remembered.
SETTLED_NS = 100_000_000
Stamp = list[int]


def digest_bytes(data: bytes) -> str:
    """The blake2b digest of some bytes, 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def digest_file(path: Path) -> str:
    """The blake2b digest of a file, always read in full."""
    state = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def digest_files(paths: Iterable[Path], remembered: bool = True) -> dict[Path, str]:
    """Digests of files, from memory where a file is as it was.

    Args:
        remembered: False reads every file in full, and remembers the result.
    """
    memory = _load_memory()
    digests, learned = {}, {}
    for path in paths:
        key = str(path.resolve())
        stamp = stamp_of(path)
        known = memory.get(key)
        if remembered and isinstance(known, list) and len(known) == 2 and known[0] == stamp:
            digests[path] = str(known[1])
            continue
        digests[path] = digest_file(path)
        if stamp_of(path) == stamp and time.time_ns() - max(stamp[1:3]) > SETTLED_NS:
            learned[key] = [stamp, digests[path]]
    _remember(learned)
    return digests


def remember(digests: dict[Path, str], since: int | None = None) -> None:
    """Remember digests of files that the caller has just written.

    Args:
        since: when their digests began to be taken, by ``time.time_ns``. A file that was written to after
            that may be another by now: its digest is not remembered. None: the caller knows that none was.
    """
    stamps = {path: stamp_of(path) for path in digests}
    now = time.time_ns()
    _remember(
        {
            str(path.resolve()): [stamp, digests[path]]
            for path, stamp in stamps.items()
            if now - max(stamp[1:3]) > SETTLED_NS and (since is None or stamp[1] < since)
        }
    )


def stamp_of(path: Path) -> Stamp:
    """What changes with a file: size, times and inode."""
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]


def _memory_path() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(root) / "legorec" / "digests.json"


def _load_memory() -> dict[str, list]:
    try:
        memory = parse_json(_memory_path().read_text())
    except (OSError, ValueError):
        return {}
    return memory if isinstance(memory, dict) else {}


def _remember(learned: dict[str, list]) -> None:
    if not learned:
        return
    path = _memory_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Read again just before writing: another process may have added its own meanwhile.
        memory = {key: value for key, value in _load_memory().items() if os.path.exists(key)} | learned
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix="digests-")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(memory, file)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
    except OSError:
        return  # a cache folder that cannot be written costs time, never correctness
