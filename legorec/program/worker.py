"""One experiment from its command line: what ``worker.py`` and ``legorec run`` do."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from legorec.signals import STOPPED, Watch, leave, reader_may_leave

if TYPE_CHECKING:
    from collections.abc import Sequence

    from legorec.processes import Processes
    from legorec.settings.stages import Stage


def main(argv: list[str]) -> int:
    """The process's exit status: 0 done, 1 another process of the run failed, 2 a message about what to mend,
    128 + n stopped by signal n."""
    from legorec.processes import Processes, launch_note

    try:
        processes = Processes.launched()
        note = launch_note()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if note is not None:
        print(note, file=sys.stderr)
    try:
        return _main(argv, processes)
    except KeyboardInterrupt:  # of a program that calls this one
        if processes.is_first:
            print(STOPPED, file=sys.stderr)
        return 128 + signal.SIGINT


def _main(argv: list[str], processes: Processes) -> int:
    from legorec.settings import SettingsError, help_text, read_stages, wants_help

    def say(text: object, to_stderr: bool = False) -> None:
        if processes.is_first:  # the others would say the same
            print(text, file=sys.stderr if to_stderr else sys.stdout)

    if wants_help(argv):
        say(help_text(argv))
        return 0
    try:
        stages = read_stages(argv)
    except SettingsError as error:
        say(error, to_stderr=True)
        if not processes.is_first:
            processes.give_way()
        return 2
    for stage in stages:
        for flag in stage.settings.did_nothing:
            name = stage.settings.exp.name
            say(f"--{flag} did nothing: {name} takes it and does not need it", to_stderr=True)
        for note in stage.settings.lost:
            say(note, to_stderr=True)
    if stages[0].settings.dry_run:
        return max(map(_foresee, stages)) if processes.is_first else 0
    return _run(stages, processes)


def _foresee(stage: Stage) -> int:
    """Print the settings, and what a mode can say before it is run; the exit status."""
    from legorec.settings import describe
    from legorec.settings.modes import MODES

    settings = stage.settings
    if stage.name:
        print(f"stage {stage.name}, {settings.exp.mode}: {stage.makes}")
    print(describe(settings))
    path = MODES[settings.exp.mode].foresees
    if path is not None and (missing := stage.missing()):
        owners = ", ".join(dict.fromkeys(owner for owner, _ in missing.values()))
        print(f"what {stage.name} will do can be told when these stages are finished: {owners}")
    elif path is not None:
        from legorec.engine.unforeseen import told
        from legorec.recipes.run import function_at

        try:
            print(function_at(path)(settings))
        except (ValueError, OSError) as error:
            print(told(error), file=sys.stderr)
            return 2
    return 0


def _run(stages: Sequence[Stage], processes: Processes) -> int:
    from legorec.engine.stopping import Interrupted
    from legorec.engine.unforeseen import told
    from legorec.processes import PeerError
    from legorec.recipes.staged import run_stages

    try:
        with processes.joined():
            try:
                run_stages(stages, processes)
            except Interrupted as stopped:
                if processes.is_first:
                    print(f"stopped; go on with the same command{_to_resume(stages)}", file=sys.stderr)
                processes.meet()  # whoever ends before that takes the launcher for a failure, and is followed
                return stopped.exit_status
    except PeerError as error:
        if processes.is_first:
            print(f"stopped: {error}", file=sys.stderr)
        processes.give_way()
        return 1
    except (ValueError, OSError) as error:
        if processes.claim("error"):
            print(told(error), file=sys.stderr)
        else:
            processes.give_way()
        return 2
    return 0


def _to_resume(stages: Sequence[Stage]) -> str:
    """What to add to the command of a run that was stopped; one without a run folder goes on by itself."""
    from legorec.settings.modes import MODES

    if not any(MODES[stage.settings.exp.mode].keeps_folder for stage in stages):
        return ""
    overwrites = any(stage.settings.overwrite for stage in stages)
    return " and --resume true" + (" in place of --overwrite true" if overwrites else "")


def _told(number: int, again: bool) -> None:
    leave(number, STOPPED if os.environ.get("RANK", "0") == "0" else "")


def start(argv: list[str]) -> NoReturn:
    """``main`` as a program of its own, which ends with its status.

    It has a watch for signals to the process's end; a run has one of its own while it is open. Also where a
    shell starts it in the background, with Ctrl-C ignored: ``kill -INT`` would be ignored with it.
    """
    Watch(_told).__enter__()
    with reader_may_leave():
        status = main(argv)
    if status > 128:
        sys.stdout.flush()
        leave(status - 128)  # at once: torch may keep the interpreter from its end for seconds
    sys.exit(status)
