"""Functions called in a forked process, with an end in sight if they hang."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 30.0  # seconds


def in_a_fork(function: Callable[[], Any]) -> Any:
    """What the function gives in a child of this process, through JSON; tuples come back as such.

    A child that hangs is killed, and is an AssertionError here.
    """
    out, into = os.pipe()
    child = _fork()
    if child == 0:
        status = 1
        try:
            os.write(into, json.dumps(function()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(into)
    try:
        ready, _, _ = select.select([out], [], [], PATIENCE)
        if not ready:
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ready, f"the child did not answer in {PATIENCE:g} s"
        assert status == 0, f"the child ended with status {status}"
        found = json.loads(os.read(out, 1 << 20))
        return tuple(found) if isinstance(found, list) else found
    finally:
        os.close(out)


class Forked:
    """A function under way in a child of this process, which may be sent signals.

    It starts at once, where a program of its own would first import all that this process has. What it says
    goes to a file.
    """

    def __init__(self, function: Callable[[], int], said: Path) -> None:
        self.said = said
        self.number = _fork()
        if self.number == 0:
            status = 1
            try:
                sys.stdout = sys.stderr = open(said, "w", buffering=1)
                os.dup2(sys.stdout.fileno(), 1)
                os.dup2(sys.stdout.fileno(), 2)
                status = function()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(status)

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.number, number)

    def end(self) -> tuple[int, str]:
        """Its exit status, below 0 for a signal that killed it, and what it said."""
        last = time.monotonic() + PATIENCE
        while not (done := os.waitpid(self.number, os.WNOHANG))[0]:
            if time.monotonic() > last:
                self.send(signal.SIGKILL)
                os.waitpid(self.number, 0)
                raise AssertionError(f"the child did not end in {PATIENCE:g} s: {self.said.read_text()}")
            time.sleep(0.01)
        return os.waitstatus_to_exitcode(done[1]), self.said.read_text()


def _fork() -> int:
    with warnings.catch_warnings():  # of threads that do not go along
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()
