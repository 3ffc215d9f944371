"""An open run: its folder, its log and the request to stop, in one process or several."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from legorec.compose import place_of
from legorec.engine.log import RunLog
from legorec.engine.run_folder import RunFolder
from legorec.engine.stopping import Interrupted, StopRequest
from legorec.engine.unforeseen import LOGGED, whole
from legorec.files.digest import digest_bytes
from legorec.processes import ALONE, PeerError, Processes
from legorec.settings.resolved import run_path

if TYPE_CHECKING:
    from legorec.settings import Settings

SEAL = "# digest of what follows: "


@dataclass(frozen=True)
class Session:
    """One run while it is open. In every process but the first, the folder and the log are silent."""

    processes: Processes
    folder: RunFolder
    log: RunLog
    stop: StopRequest

    def tell(self, text: str) -> None:
        """Print a line of any process, see ``tell``."""
        tell(self.processes, self.log, text)


@contextmanager
def open_session(settings: Settings, processes: Processes = ALONE) -> Iterator[Session]:
    """Open the run's folder and log, write its settings, and listen for signals until the end.

    What the run is stopped by is noted in the log, an error with its traceback. Refuse before this what
    can be refused.

    Raises:
        ValueError: the folder is in use, finished, or unfinished and neither ``resume`` nor ``overwrite`` was
            asked for.
    """
    with StopRequest(processes) as stop:
        with processes.agreeing():
            folder = RunFolder(
                run_path(settings),
                resume=settings.resume,
                overwrite=settings.overwrite,
                writes=processes.is_first,
            )
        with folder:
            log = RunLog(silent=not folder.writes)
            if folder.writes:
                log.open(folder.log_file)
            folder.write_settings(sealed(settings.to_yaml() + place_of(folder.path)))
            try:
                yield Session(processes, folder, log, stop)
            except (Interrupted, PeerError) as reason:
                log.note(f"stopped: {reason}")
                raise
            except Exception as error:
                if log.note(f"{whole(error)}stopped: {error}"):
                    error.add_note(f"{LOGGED}{folder.log_file}")
                raise


def sealed(text: str) -> str:
    """The text of ``settings.yaml`` under a line with its digest, which shows whether it was edited."""
    return f"{SEAL}{digest_bytes(text.encode())}\n{text}"


def settings_file(run: Path) -> Path:
    """The settings that a run was made with.

    Raises:
        ValueError: the folder is not that of a run, or its settings were altered.
    """
    file = run / "settings.yaml"
    if not file.is_file():
        raise ValueError(f"{run} is not the folder of a run: it has no {file.name}")
    whole = file.read_text(encoding="utf-8", errors="replace")
    if whole.startswith(SEAL) and whole != sealed(whole.partition("\n")[2]):
        raise ValueError(
            f"{file} was altered since the run wrote it (its digest differs); if that was meant, remove its "
            "first line"
        )
    return file


def tell(processes: Processes, log: RunLog, text: str) -> None:
    """Print a line of any process: to the log in the first one, to the terminal in the others."""
    if processes.is_first:
        log(text)
    else:
        print(f"process {processes.rank}: {text}", file=sys.stderr, flush=True)
