"""Where answers go that were paid for and that the disk of their log does not take."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from legorec.files.disk import flush
from legorec.texts.records import LoggedAnswer


def rescue(
    records: Iterable[LoggedAnswer],
    log: Path,
    show: Callable[[str], None] = print,
    places: Iterable[Path] = (),
) -> str:
    """Write records to another disk, or else show them.

    Args:
        records: masked ones, see ``AnswerLog.masked``.
        show: called with each line, where no disk takes them.
        places: folders to try; by default the one for temporary files, the user's own, the current one.
    Returns: where they are, and how to bring them back, as the end of a message.
    """
    lines = [each.to_line() for each in records]
    count = f"{len(lines):,} {'answer that was' if len(lines) == 1 else 'answers that were'} paid for"
    for place in places or (Path(tempfile.gettempdir()), Path.home(), Path.cwd()):
        path = place / f"{log.name}.rest-{os.getpid()}"
        try:
            with open(path, "ab") as file:
                file.writelines(lines)
            flush(path)
        except OSError:
            path.unlink(missing_ok=True)
            continue
        back = f"cat {path} >> {log}"
        return f"{count} and had no room there: {path}; make room, bring them back with `{back}`, and go on"
    for line in lines:
        show(line.decode().rstrip("\n"))
    return (
        f"{count} and had no room on any disk: shown above; make room, append the lines to {log}, and go on"
    )
