"""Progress: bars on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY = 60.0  # seconds between two lines
ENOUGH = 10  # are done, or a twentieth, before a line says how fast it goes


class Lines:
    """A line now and then: how far the work is, what is said beside it, and how long it will take.

    Args:
        say: called with each line.
        silent: say nothing.
        detail: what to add to a line: (done since the start, seconds since then) -> text.
        goes_on: the first call says what was done before, and the clock starts with it.
    """

    def __init__(
        self,
        title: str,
        say: Callable[[str], None],
        silent: bool = False,
        detail: Callable[[int, float], str] = lambda done, seconds: "",
        goes_on: bool = False,
    ) -> None:
        self.title, self.say, self.silent, self.detail = title, say, silent, detail
        self._began = self._last = time.monotonic()
        self._first = None if goes_on else 0

    def is_due(self) -> bool:
        """Whether the next call says a line."""
        return not self.silent and time.monotonic() - self._last >= EVERY

    def __call__(self, done: int, total: int) -> None:
        """Note that ``done`` of ``total`` are done, and say so if it is time."""
        if self._first is None:
            self._first, self._began = done, time.monotonic()
        if not self.is_due() or done <= self._first:
            return
        self._last = time.monotonic()
        seconds, since = self._last - self._began, done - self._first
        line = f"{self.title}: {done:,} of {total:,}"
        if since >= ENOUGH or since * 20 >= total:
            text = self.detail(since, seconds)
            left = _said(seconds / since * (total - done))
            line += f"{f', {text}' if text else ''}, about {left} left"
        self.say(line)


def _said(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@contextmanager
def bar(
    title: str,
    total: int | None = None,
    *,
    shown: bool = True,
    say: Callable[[str], None] | None = None,
    detail: Callable[[int, float], str] = lambda done, seconds: "",
) -> Iterator[Callable[[int, int], None]]:
    """A function (done, total) that moves a bar; where the output is no terminal it says a line now and then.

    Args:
        shown: False for a process that is not the first of its run.
        say: called with each line; None: there is none.
        detail: as of ``Lines``; on a terminal it stands beside the bar.
    """
    console = Console()
    if not (shown and console.is_interactive):
        yield (
            Lines(title, say, silent=not shown, detail=detail)
            if say is not None
            else lambda done, total: None
        )
        return
    words = TextColumn("{task.description}"), TextColumn("{task.fields[detail]}")
    columns = (words[0], BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), words[1])
    with Progress(*columns, console=console, transient=True) as bars:
        task, began = bars.add_task(title, total=total, detail=""), time.monotonic()

        def moved(done: int, total: int) -> None:
            beside = detail(done, time.monotonic() - began)
            bars.update(task, completed=done, total=total, detail=beside)

        yield moved


def rate_text(rate: float) -> str:
    """A rate with as many digits as it needs: 1,234 or 0.17."""
    return f"{rate:,.{0 if rate >= 10 else 2}f}"


def shows_bars() -> bool:
    """Whether the output is a terminal."""
    return Console().is_interactive
