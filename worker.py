"""Run an experiment: ``python worker.py --data D.yaml --model M.yaml --exp E.yaml [--key value ...]``.

``--help`` lists the flags; ``--dry_run true`` prints the resolved settings and where each value came from.
"""

import signal
import sys


def main(argv: list[str]) -> int:
    """The process's exit status: 0 done, 2 a message about what to mend, 128 + n stopped by signal n."""
    try:
        return _main(argv)
    except KeyboardInterrupt:  # before the run's own handlers: nothing was begun
        print("stopped; nothing was written", file=sys.stderr)
        return 128 + signal.SIGINT


def _main(argv: list[str]) -> int:
    from legorec.settings import SettingsError, describe, help_text, read_command_line, wants_help

    if wants_help(argv):
        print(help_text(argv))
        return 0
    try:
        settings = read_command_line(argv)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    for flag in settings.did_nothing:
        print(f"--{flag} did nothing: {settings.exp.name} takes it and does not need it", file=sys.stderr)
    if settings.dry_run:
        print(describe(settings))
        return 0
    from legorec.engine.signals import Interrupted
    from legorec.recipes.run import run

    try:
        run(settings)
    except Interrupted as stopped:
        instead = " in place of --overwrite true" if settings.overwrite else ""
        print(f"stopped; go on with the same command and --resume true{instead}", file=sys.stderr)
        return stopped.exit_status
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    # A shell starts background jobs with Ctrl-C ignored, and `kill -INT` would be ignored with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
