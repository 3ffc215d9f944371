"""The run's log. Pigmento inspects every global of the calling module, so only this small module calls it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pigmento import Pigmento, Prefix
from pigmento.time_prefix import TimePrefix
from pigmento.utils import Bracket, Color

from legorec.files.disk import writing


class RunLog:
    """Lines with the time since the start, on the terminal and, once opened, in a file.

    Args:
        silent: say nothing, for a process that is not the first of its run.
    """

    def __init__(self, silent: bool = False) -> None:
        self._silent = silent
        self._file: Path | None = None
        self._time = Prefix(TimePrefix(), Bracket.DEFAULT, Color.GREEN)
        self._print = Pigmento()
        self._print.add_prefix(self._time)
        self._print.set_display_mode(display_method_name=False, display_class_name=False)

    def open(self, file: Path) -> None:
        """Write every further line to ``file`` too."""
        self._file = file

    def __call__(self, *parts: object) -> None:
        if not self._silent:
            self._print(*parts, flush=True)  # a pipe or a file shows the line when it is written
            self._append(" ".join(map(str, parts)))

    def note(self, text: str) -> bool:
        """Add lines to the file alone; whether they are there. A full disk is ignored."""
        with suppress(OSError):  # the line may report that the disk is full
            return self._append(text)
        return False

    def _append(self, text: str) -> bool:
        if self._file is None:
            return False
        line = f"{self._time} {text}\n".encode()
        with writing(self._file, len(line)), open(self._file, "ab") as file:
            file.write(line)
        return True
