"""The command ``legorec``: one row for each of its commands."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

from legorec.signals import reader_may_leave

BAD_INPUT = 2


@dataclass(frozen=True)
class Command:
    """One command.

    Args:
        about: what it does, for ``legorec --help``.
        main: ``module:function`` below ``legorec.program``, called with the arguments; returns the exit
            status. What it raises of a user's mistakes is told here.
    """

    name: str
    usage: str
    about: str
    main: str


COMMANDS = {
    each.name: each
    for each in (
        Command(
            "run", "--data D --model M --exp E [--key value ...]", "train, test, cache, ...", "worker:start"
        ),
        Command("data", "[NAME ...]", "make a data store: tables, MIND, movielens, ...", "data:main"),
        Command("ls", "[models|bricks|data|embed|exp|stores|runs]", "what there is", "listing:ls"),
        Command("show", "NAME", "one of them in full", "listing:show"),
        Command(
            "validate",
            "STORE | --data D --model M --exp E",
            "find what is wrong, run nothing",
            "validate:main",
        ),
        Command(
            "predict",
            "RUN [--histories FILE] [--top_k K] --out FILE",
            "scores or recommendations of a run",
            "predict:main",
        ),
        Command(
            "serve",
            "RUN [--port 8000]",
            "recommendations over HTTP",
            "serve:main",
        ),
        Command(
            "graph", "RUN --out FILE.onnx", "the scoring of a run, for a server without it", "graph:main"
        ),
        Command("save", "RUN --out FOLDER", "a model to carry away: no store, no users", "save:main"),
        Command("doctor", "", "versions, devices, memory, disk and extras", "doctor:main"),
        Command(
            "completion", "bash|zsh", "print a script that completes commands and flags", "completion:main"
        ),
    )
}


def main(argv: list[str] | None = None) -> int:
    """The exit status: 0 done, 2 a message about what to mend."""
    argv = sys.argv[1:] if argv is None else argv
    with reader_may_leave():
        return _main(argv)


def _main(argv: list[str]) -> int:
    name, rest = (argv[0], argv[1:]) if argv else ("--help", [])
    if name in ("--help", "-h", "help"):
        print(help_text())
        return 0
    if name == "--version":
        print(f"legorec {version('legorec')}")
        return 0
    if name not in COMMANDS:
        from legorec.registry import did_you_mean

        known = did_you_mean(name, COMMANDS) or f"; there are {', '.join(COMMANDS)}"
        print(f"error: legorec has no command {name!r}{known}", file=sys.stderr)
        return BAD_INPUT
    module, _, function = COMMANDS[name].main.partition(":")
    main = getattr(import_module(f"legorec.program.{module}"), function)
    try:
        status: int = main(rest)
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        from legorec.compose import SettingsError
        from legorec.engine.unforeseen import told

        print(error if isinstance(error, SettingsError) else told(error), file=sys.stderr)
        return BAD_INPUT
    return status


def help_text() -> str:
    """The commands, a line each."""
    width = max(len(f"{each.name} {each.usage}") for each in COMMANDS.values())
    rows = [f"  {f'{each.name} {each.usage}':<{width}}  {each.about}" for each in COMMANDS.values()]
    return "\n".join(["usage: legorec COMMAND ...", "", *rows])
