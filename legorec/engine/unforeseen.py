"""Errors that nobody foresaw: faults of the program, told from mistakes that a user can mend."""

from __future__ import annotations

import linecache
import sysconfig
import traceback
from pathlib import Path

_OWN = Path(__file__).parents[1]
_LIBRARIES = [Path(sysconfig.get_paths()[name]) for name in ("purelib", "platlib", "stdlib")]
LOGGED = "the traceback is in "  # the note of an error whose traceback a log holds


def is_foreseen(error: BaseException) -> bool:
    """Whether an error is a message for the user: the system's, or raised by legorec or a user's own brick.

    A ``ValueError`` of torch, or of Python itself in one of our lines, says nothing that a user could mend.
    """
    if isinstance(error, OSError):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    if not isinstance(error, ValueError) or not frames:
        return isinstance(error, ValueError)
    file = Path(frames[-1].filename)
    ours = file.is_relative_to(_OWN) or not any(file.is_relative_to(root) for root in _LIBRARIES)
    line = linecache.getline(str(file), frames[-1].lineno or 0).strip()
    return ours and (not line or line.startswith("raise"))


def told(error: BaseException) -> str:
    """The lines for the screen: a message alone, or what went wrong with its traceback or where that is."""
    if is_foreseen(error):
        return f"error: {error}"
    line = f"error: not foreseen, so a fault of the program: {type(error).__name__}: {error}"
    logged = next((note for note in getattr(error, "__notes__", ()) if note.startswith(LOGGED)), None)
    return f"{line}; {logged}" if logged else f"{whole(error)}{line}"


def whole(error: BaseException) -> str:
    """The traceback, with those of the errors that led to it."""
    return "".join(traceback.format_exception(error))
