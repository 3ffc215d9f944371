"""Progress of a long job: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

Part = TypeVar("Part")


class Progress:
    """Reports what is being done.

    Args:
        stream: where to write; None writes nothing.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream

    @classmethod
    def on_stderr(cls) -> Progress:
        """The progress of a script, on its standard error."""
        return cls(sys.stderr)

    def say(self, text: str) -> None:
        """Write one line."""
        if self.stream is not None:
            print(text, file=self.stream, flush=True)

    def track(self, parts: Iterable[Part], label: str, total: int | None = None) -> Iterator[Part]:
        """Go through ``parts``, with a bar on a terminal and one line elsewhere."""
        if self.stream is None or not self.stream.isatty():
            self.say(label)
            yield from parts
            return
        from rich.console import Console
        from rich.progress import track

        console = Console(file=self.stream)
        yield from track(parts, label, total=total, console=console, transient=True)
