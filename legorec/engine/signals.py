"""Ctrl-C and SIGTERM as a question the training loop asks between two batches."""

from __future__ import annotations

import signal
from types import FrameType

_CAUGHT = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """The work was asked to stop and did so at a place from which it can go on."""


class StopRequest:
    """True once the process was asked to stop; a second signal stops it at once.

    Use as a context: handlers are put back on leaving. Outside the main thread nothing is caught.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, object] = {}

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_status(self) -> int:
        """128 + the number of the signal, as shells have it."""
        return 128 + (self.signal or 0)

    def __enter__(self) -> StopRequest:
        try:
            for number in _CAUGHT:
                self._before[number] = signal.signal(number, self._catch)
        except ValueError:  # not the main thread
            self._before.clear()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.signal = number
