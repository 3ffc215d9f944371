"""Ctrl-C and SIGTERM, noticed at once.

Python runs a handler in the main thread, between two of its instructions. A call into a library that sorts,
tokenizes or writes a table is one instruction and may take a minute. Such calls let other threads run, so
another thread listens too.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

STOPS = (signal.SIGINT, signal.SIGTERM)
STOPPED = "stopped; nothing is half-written"  # true before the work, and after it


class Watch:
    """Catches both signals while it is open; outside the main thread it catches nothing.

    Handlers are put back on leaving.

    Args:
        told: called in a separate thread as soon as a signal comes, with its number and whether an earlier
            signal came before it.
        caught: called with the number in the main thread, as handlers are; may raise.
        patience: seconds; if still open so long after the last signal, ``told`` is called as for another one.
    """

    def __init__(
        self,
        told: Callable[[int, bool], None],
        caught: Callable[[int], None] = lambda number: None,
        patience: float | None = None,
    ) -> None:
        self._told = told
        self._caught = caught
        self._patience = patience
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watch:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()
        self._wakeup_before = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        self._before = [(number, signal.signal(number, self._handle)) for number in STOPS]
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is None:
            return
        for number, handler in self._before:
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._wakeup_before)
        self._sender.close()  # ends the thread, once it has received everything
        self._thread.join()
        self._receiver.close()
        self._thread = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._caught(number)

    def _listen(self) -> None:
        first = 0
        while True:
            try:
                numbers = self._receiver.recv(64)
            except TimeoutError:
                numbers = bytes([first])
            if not numbers:
                return
            for number in numbers:  # any signal that has a handler arrives here
                if number in STOPS:
                    self._told(number, bool(first))
                    first = first or number
                    self._receiver.settimeout(self._patience)


def leave(number: int, line: str = "") -> NoReturn:
    """End the process at once, from any thread, with the exit status that shells use for a signal."""
    if os.isatty(1):
        say("\x1b[?25h", 1)  # a progress bar hides the cursor
    if line:
        say(line + "\n")
    os._exit(128 + number)


def say(text: str, descriptor: int = 2) -> None:
    """Write straight to the descriptor: another thread may be in the middle of a print."""
    start = "\n" if descriptor == 2 and os.isatty(2) else ""  # the cursor may be on a progress bar's line
    with suppress(OSError):
        os.write(descriptor, (start + text).encode())


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """End without a word where the reader of what is printed has left, as ``head`` does.

    Raises:
        SystemExit: it has, with the status of a program that its signal ends.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left of the buffer goes nowhere, where it would be a traceback at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
