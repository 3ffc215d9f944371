"""The lines of a log of answers, for whoever reads all of it, and what is said of those that are wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from legorec.texts.records import LoggedAnswer, parse_record

BLOCK = 1 << 20


def read_answers(path: Path, say: Callable[[str], None] = print) -> Iterator[LoggedAnswer]:
    """All records of a log, in their order, one at a time; failures, and shared answers, too.

    Of two answers of one key and id, the later one counts. A failure does not undo an answer before it: it
    says that the answer was of no use to the parser of then.

    Args:
        say: called with a line about a last line that was not written to its end, which is left out.
    Raises:
        ValueError: there is no such log, or a line of it is no record.
    """
    try:
        file = io.FileIO(path)
    except OSError as problem:
        raise ValueError(f"{path} cannot be read ({problem.strerror}); it is a log of answers") from None
    with file:
        for number, line in enumerate(lines_of(file, 0), 1):
            try:
                record = parse_record(line)
            except ValueError as problem:
                if line.endswith(b"\n") or not isinstance(problem, json.JSONDecodeError):
                    raise told_malformed(path, number, problem) from None
                say(told_torn(path, number, line, "left out"))
                return
            yield record


def told_torn(path: Path, number: int, line: bytes, then: str) -> str:
    """What to say of a last line that was not written to its end."""
    return f"{path}:{number}: the last line was not written to its end ({len(line):,} bytes) and is {then}"


def told_malformed(path: Path, number: int, problem: ValueError) -> ValueError:
    """The error for a line that is no record."""
    why = problem.msg if isinstance(problem, json.JSONDecodeError) else problem
    return ValueError(
        f"{path}:{number}: is not a record of an answer ({why}); take the line out, or restore the log"
    )


def lines_of(file: io.FileIO, place: int) -> Iterator[bytes]:
    """The lines of a file from a place on; the last one may lack its end."""
    rest = b""
    while True:
        file.seek(place)
        block = file.read(BLOCK)
        if not block:
            break
        place += len(block)
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest
