"""Ctrl-C and SIGTERM as a flag that long work checks between two batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from legorec.processes import ALONE, Processes
from legorec.signals import Watch, leave, say


class Interrupted(Exception):
    """The work was asked to stop, and stopped where it can be resumed."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"asked to by signal {signal_number}")
        self.exit_status = 128 + signal_number  # as shells have it


class StopRequest:
    """True once the process was asked to stop; a second signal stops it at once.

    Use as a context: handlers are put back on leaving. Outside the main thread nothing is caught. With
    several processes, of which one may have got the signal, asking is a meeting: all ask at the same places
    and all get the same answer.

    Args:
        silent: leave it to another process to say that it was asked.
        patience: seconds after a signal in which the process may still end by itself; then it is stopped as
            by a second one. None: there is no limit.
        parting: the line that is said by a process which is stopped at once.
    """

    def __init__(
        self,
        processes: Processes = ALONE,
        silent: bool = False,
        patience: float | None = None,
        parting: str = "",
    ) -> None:
        self.signal: int | None = None  # once it was asked and is true
        self._caught = 0
        self._anywhere = False
        self._processes = processes
        self._silent = silent or not processes.is_first
        self._parting = parting
        self._watch = Watch(self._told, self._catch, patience)

    def __bool__(self) -> bool:
        if self.signal is None:
            self.signal = self._processes.max(self._caught) or None
        return self.signal is not None

    def check(self) -> None:
        """Raise ``Interrupted`` if the process was asked to stop."""
        if self and self.signal is not None:
            raise Interrupted(self.signal)

    @contextmanager
    def anywhere(self) -> Iterator[None]:
        """Inside, ``Interrupted`` is raised between any two instructions, for what is thrown away by that.

        Among several processes, which all have to stop at the same place, it is not.
        """
        self._anywhere = self._processes.world == 1
        try:
            self.check_here()
            yield
        except Exception:
            self.check_here()  # libraries wrap what is raised in their calls, each in its own way
            raise
        finally:
            self._anywhere = False

    def check_here(self) -> None:
        """Raise ``Interrupted`` inside of ``anywhere``, also in threads that are not the main one."""
        if self._anywhere and self._caught:
            raise Interrupted(self._caught)

    def __enter__(self) -> StopRequest:
        self._watch.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.__exit__()

    def _catch(self, number: int) -> None:
        self._note(number)
        self.check_here()

    def _note(self, number: int) -> None:
        self._caught = self._caught or number

    def _told(self, number: int, again: bool) -> None:
        if again:
            leave(number, self._parting)
        self._note(number)  # the main thread may be in a long call, and others ask too
        if not self._silent:
            say("stopping at the next safe place; once more to stop at once\n")
