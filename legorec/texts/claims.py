"""What a process is asking for at the moment, so that another one on the same log does not ask it too."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LARGEST = 2**62  # of the places in a file that can be locked


class Claims:
    """Keys that belong to this process until it lets them go or ends, however it ends.

    A key is one byte of a file, far beyond its end, and a claim is the system's lock on that byte. Nothing is
    written. Where the system has no such locks every claim succeeds, and two runs at once may ask the same.

    Args:
        path: of the file; it is made.
    """

    def __init__(self, path: Path) -> None:
        self._held: set[int] = set()  # the system's locks hold between processes alone
        self._handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666) if fcntl else None

    def take(self, key: str) -> bool:
        """Whether the key belongs to this process now; False where it already did, or is another's."""
        place = _place(key)
        if place in self._held:
            return False
        if self._handle is not None:
            try:
                fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except (BlockingIOError, PermissionError):  # which of the two depends on the system
                return False
            except OSError:  # a file system without locks
                self.close()
        self._held.add(place)
        return True

    def give(self, key: str) -> None:
        """Let a key go."""
        place = _place(key)
        self._held.discard(place)
        if self._handle is not None:
            fcntl.lockf(self._handle, fcntl.LOCK_UN, 1, place)

    def close(self) -> None:
        """Let all keys go."""
        if self._handle is not None:
            os.close(self._handle)
        self._handle = None


def _place(key: str) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) % LARGEST
