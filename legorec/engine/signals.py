"""Ctrl-C and SIGTERM as a question that long work asks between two batches."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType

from legorec.processes import ALONE, Processes

_CAUGHT = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """The work was asked to stop and did so at a place from which it can go on."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"asked to by signal {signal_number}")
        self.exit_status = 128 + signal_number  # as shells have it


class StopRequest:
    """True once the process was asked to stop; a second signal stops it at once.

    Use as a context: handlers are put back on leaving. Outside the main thread nothing is caught. With
    several processes, of which one may have got the signal, asking is a meeting: all ask at the same places
    and all get the same answer.
    """

    def __init__(self, processes: Processes = ALONE) -> None:
        self.signal: int | None = None  # once it was asked and is true
        self._caught = 0
        self._processes = processes
        self._before: dict[int, object] = {}

    def __bool__(self) -> bool:
        if self.signal is None:
            self.signal = self._processes.max(self._caught) or None
        return self.signal is not None

    def check(self) -> None:
        """Raise ``Interrupted`` if the process was asked to stop."""
        if self and self.signal is not None:
            raise Interrupted(self.signal)

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
        if self._caught:
            if os.isatty(1):
                _say(1, "\x1b[?25h")  # a progress bar hides the cursor
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._caught = number
        if not self._processes.is_first:
            return
        start = "\n" if os.isatty(2) else ""  # a progress bar may stand there
        _say(2, f"{start}stopping at the next safe place; once more to stop at once\n")


def _say(descriptor: int, text: str) -> None:
    """Straight to the descriptor: a signal may come in the middle of a print."""
    with suppress(OSError):
        os.write(descriptor, text.encode())
