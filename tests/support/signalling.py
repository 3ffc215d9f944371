"""Signals that come at a known place, for tests."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A call that takes a minute and lets other threads run, as a large sort does.
LONG_CALL = 'hashlib.pbkdf2_hmac("sha512", b"", b"", 10**9)'


def signalled(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int, at: int = 1, after: bool = False
) -> None:
    """This process gets a signal at one of the calls of a function, before what it does or after it."""
    calls, real = [], getattr(owner, name)

    def call(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == at and not after:
            os.kill(os.getpid(), number)
        result = real(*given, **named)
        if len(calls) == at and after:
            os.kill(os.getpid(), number)
        return result

    monkeypatch.setattr(owner, name, call)
