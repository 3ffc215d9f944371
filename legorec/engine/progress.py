"""Progress bars, shown on a terminal only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def bar(title: str, total: int | None = None, *, shown: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A function (done, total) that moves a bar; it does nothing when the output is no terminal.

    Args:
        shown: False for a process that is not the first of its run.
    """
    console = Console()
    if not (shown and console.is_interactive):
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(title, total=total)
        yield lambda done, total: bars.update(task, completed=done, total=total)
