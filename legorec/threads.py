"""What the threads of a process share, and what is left of a process after a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import torch

Made = TypeVar("Made")
_BORN = os.getpid()


class Once(Generic[Made]):
    """A value that is made when it is first asked for, and once, however many threads ask.

    A copy, or a pickle, has what was made already.

    Args:
        make: called without an argument; where it raises, the next who asks tries again.
    """

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._made: list[Made] = []
        self._lock, self._process = threading.Lock(), os.getpid()

    def get(self) -> Made:
        """The value; may have to wait for another thread that makes it."""
        if not self._made:
            if self._process != os.getpid():  # after a fork, the thread that had the lock is not there
                self._lock, self._process = threading.Lock(), os.getpid()
            with self._lock:
                if not self._made:
                    self._made.append(self._make())
        return self._made[0]

    def __getstate__(self) -> dict[str, Any]:
        return {"_make": self._make, "_made": list(self._made)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock, self._process = threading.Lock(), os.getpid()


def after_fork(device: torch.device) -> None:
    """Let torch work in a process that was forked: on the CPU, and in one thread.

    Of the parent's threads only the one that forked goes on in the child, and torch would wait for the others
    for ever. Does nothing in a process that was not forked.

    Raises:
        ValueError: the device is an accelerator, which the parent alone can use.
    """
    if os.getpid() == _BORN:
        return
    if device.type != "cpu":
        raise ValueError(
            f"a model on '{device}' cannot be used in a process that was forked from the one that loaded it; "
            "load it in the child, or start children with the method 'spawn'"
        )
    import torch  # whoever asks has it; a store is read without

    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
