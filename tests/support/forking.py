"""Functions called in a forked process, with an end in sight if they hang."""

from __future__ import annotations

import json
import os
import select
import signal
import warnings
from collections.abc import Callable
from typing import Any

PATIENCE = 30.0  # seconds


def in_a_fork(function: Callable[[], Any]) -> Any:
    """What the function gives in a child of this process, through JSON; tuples come back as such.

    A child that hangs is killed, and is an AssertionError here.
    """
    out, into = os.pipe()
    with warnings.catch_warnings():  # of threads that do not go along: that is what is tested
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
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
