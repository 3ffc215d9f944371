"""Run an experiment: ``python worker.py --data D.yaml --model M.yaml --exp E.yaml [--embed B.yaml] [--key value ...]``.

``--help`` lists the flags; ``--dry_run true`` prints the resolved settings and where each value came from.
"""

import sys


def main(argv: list[str]) -> int:
    """The process's exit status: 0 done, 2 a message about what to mend, 128 + n stopped by signal n."""
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
    from legorec.engine.signals import Interrupted, StopRequest

    with StopRequest() as stop:
        from legorec.recipes.run import run

        try:
            run(settings, stop)
        except Interrupted:
            print("stopped; go on with the same command and --resume true", file=sys.stderr)
            return stop.exit_status
        except (ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
