"""Arguments, messages and exit status shared by the scripts in ``process/``."""

from __future__ import annotations

import argparse
import codecs
import re
import signal
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import polars as pl

from legorec.data.raw.next_command import next_lines
from legorec.data.raw.quoting import QUOTINGS
from legorec.data.store import Store
from legorec.data.text import MADE, TokenizerChoice
from legorec.data.writing.like import Like
from legorec.data.writing.progress import Progress
from legorec.data.writing.user_table import UserTable
from legorec.data.writing.writer import StoreWriter
from legorec.signals import STOPPED, Watch, leave, reader_may_leave

# Of held-out clicks that stand in their own history: a warning above this.
LARGE_SHARE = 0.2
# What is said of users who are divided among the splits, see ``divided_arguments``.
USERS = ("shares", "history_lengths", "num_users")
# Exit status after bad input, which is reported in one line.
BAD_INPUT = 2
# Seconds that a script has to end by itself after a signal; the promise is five.
PATIENCE = 3.0


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help with the text unchanged, and with the defaults."""


class Arguments(argparse.ArgumentParser):
    """A parser that takes flags only in full, and names the nearest one for an unknown flag."""

    def __init__(self, description: str | None, **how: Any) -> None:
        how.setdefault("formatter_class", _Help)
        how.setdefault("prog", called())
        super().__init__(description=description, allow_abbrev=False, **how)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments; an unknown one is an error."""
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            close = get_close_matches(unknown[0], list(self._option_string_actions), n=1)
            self.error(f"unknown argument {unknown[0]}" + (f"; did you mean {close[0]}?" if close else ""))
        return known

    @property
    def flags(self) -> list[str]:
        """The flags that it takes, in their order, without that of help."""
        return [each for each in self._option_string_actions if each not in ("-h", "--help")]


def called() -> str | None:
    """How the running script was called, where that is not by its file."""
    return sys.argv[0] if sys.argv[0].startswith("legorec ") else None


def store_arguments(description: str | None) -> Arguments:
    """A parser with the arguments of every processor."""
    parser = Arguments(description)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the store to write")
    parser.add_argument(
        "--tokenizer",
        action="append",
        metavar="NAME",
        help="words, chars, titles or name=FOLDER of a Hugging Face tokenizer; may be given several times "
        "(default: words)",
    )
    parser.add_argument("--min_count", type=int, default=1, help="rarer words and characters become [UNK]")
    parser.add_argument("--max_words", type=int, help="largest vocabulary of words or characters")
    parser.add_argument(
        "--max_missing", type=float, default=0.01, help="share of ids that may be in no table"
    )
    parser.add_argument("--seed", type=int, default=2023, help="of everything that is drawn")
    parser.add_argument("--overwrite", action="store_true", help="replace a store that is there")
    parser.add_argument(
        "--like",
        type=Path,
        metavar="OLD_STORE",
        help="keep the tokenizers, vocabularies and scales of numbers of that store, so that its models can "
        "read this one",
    )
    return parser


def log_arguments(parser: Arguments, what: str = "rows that are equal in user, item and time") -> None:
    """The argument of processors that read a log with times."""
    parser.add_argument("--keep_doubled", action="store_true", help=f"keep {what}; they are dropped else")


def divided_arguments(parser: Arguments, where: str, least_most: str = "1,1000000") -> None:
    """The arguments of processors that divide users among the splits; ``where`` names that choice."""
    parser.add_argument(
        "--history_lengths", type=lengths, default=least_most, metavar="LEAST,MOST", help=f"of {where}"
    )
    parser.add_argument("--num_users", type=int, help=f"at most so many, drawn; of {where}")


def text_arguments(parser: Arguments, encoding: str | None = "utf-8", quoting: bool = True) -> None:
    """The arguments of processors that read files of text."""
    text = "of the files" if encoding else "of the files; without it utf-8 and, where they are not, latin-1"
    parser.add_argument("--encoding", type=one_byte_lines, default=encoding, metavar="NAME", help=text)
    if quoting:
        parser.add_argument(
            "--quoting",
            choices=QUOTINGS,
            default="auto",
            help="do quotes around cells belong to the format (double), or to the text (none)",
        )


def listed(paths: Sequence[Path]) -> str:
    """Files, for a message."""
    return ", ".join(str(path) for path in paths)


def open_writer(
    args: argparse.Namespace, processor: str, *settings: str, users: UserTable | None = None
) -> StoreWriter:
    """The writer for the arguments; ``settings`` are the arguments that go into the manifest.

    Args:
        users: fields of the users, who are otherwise known by their ids alone.
    """
    like = None if args.like is None else Like.open(args.like)
    if getattr(args, "keep_doubled", False):
        settings = (*settings, "keep_doubled")
    return StoreWriter(
        args.out,
        {"processor": processor, "seed": args.seed} | {name: getattr(args, name) for name in settings},
        tokenizer_choices(args, like),
        max_missing=args.max_missing,
        overwrite=args.overwrite,
        progress=Progress.on_stderr(),
        user_table=users,
        like=like,
    )


def tokenizer_choices(args: argparse.Namespace, like: Like | None) -> list[TokenizerChoice]:
    """The tokenizers that the arguments name; ``words`` where they name none, and a store like another its.

    Sizes of vocabularies that are given beside --like are held against those of that store.
    """
    named = args.tokenizer or ["words"]
    if like is not None and not args.tokenizer:
        resized = (args.min_count, args.max_words) != (1, None)
        named = [name for name in like.tokenizers if name in MADE] if resized else []
    return [TokenizerChoice.parse(name, args.min_count, args.max_words) for name in named]


def print_counts(path: Path) -> None:
    """Open a new store, and print what is in it, what was dropped, and the command that trains on it."""
    store = Store.open(path)
    print("\n".join([*counts(store), *next_lines(store, called())]))


def counts(store: Store) -> list[str]:
    """What is in a store and what was dropped, a line each."""
    facts = store.manifest
    lines = [
        f"{store.path}: {len(store.items):,} items, {len(store.users):,} users, digest {store.digest[:12]}",
        f"  item fields: {', '.join(store.items.field_names) or 'none'}",
    ]
    for fact in facts["users"]["fields"]:
        given = len(store.users) - fact["empty"]
        lines.append(f"  user field {fact['name']}: {given:,} of {len(store.users):,} users have one")
    history = facts["histories"]
    lines.append(f"  histories: {history['spans']:,} distinct, {history['clicks']:,} clicks stored")
    for split in store.splits:
        lines += _counts_of(split, facts["interactions"][split])
    for split, places in facts["dropped"]["ids"].items():
        for place, part in places.items():
            if part["missing"]:
                lines.append(
                    f"  dropped: {part['missing']:,} of {part['of']:,} {place} ({split}), in no table"
                )
    lines += [f"  dropped: {rows:,} {reason}" for reason, rows in facts["dropped"]["rows"].items()]
    return lines + [f"  kept: {rows:,} {reason}" for reason, rows in facts.get("kept", {}).items()]


def _counts_of(split: str, count: Mapping[str, Any]) -> list[str]:
    labels = f"{count['positives']:,} clicked" if count["labelled"] else "labels unknown"
    known = count.get("clicked_before")
    labels += f", {known:,} of them stand in their own history" if known is not None else ""
    lines = [f"  {split}: {count['count']:,} impressions, {count['candidates']:,} candidates, {labels}"]
    if known and known > LARGE_SHARE * count["positives"]:
        lines.append(
            f"  warning: {known / count['positives']:.0%} of the clicks of {split} stand in their own "
            "history: a model that repeats the history looks good; look for rows that stand twice"
        )
    return lines


def run(main: Callable[[Sequence[str] | None], None], arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a script: bad input is one line and status 2; Ctrl-C and SIGTERM leave nothing half-written.

    If a script is in a call that takes longer than ``PATIENCE``, its files are removed and it ends there.
    """
    stopped: list[int] = []

    def stop(number: int) -> None:
        stopped.append(number)
        raise KeyboardInterrupt

    try:
        with reader_may_leave(), Watch(_end_if_repeated, stop, PATIENCE):
            main(arguments)
    except (Exception, KeyboardInterrupt) as problem:
        if stopped or isinstance(problem, KeyboardInterrupt):  # libraries may make any error of it
            print(STOPPED, file=sys.stderr)
            raise SystemExit(128 + (stopped or [signal.SIGINT])[0]) from None
        if not isinstance(problem, ValueError | OSError | pl.exceptions.PolarsError):
            raise
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None
    raise SystemExit(0)


def _end_if_repeated(number: int, again: bool) -> None:
    if again:
        weakref.finalize._exitfunc()  # type: ignore[attr-defined]  # as at the interpreter's end
        leave(number, STOPPED)


def shares(text: str) -> tuple[float, ...]:
    """The argument for the shares of train, dev and test, as in ``0.8,0.1,0.1``."""
    try:
        parts = tuple(float(part) for part in re.split(r"[,\s]+", text.strip()))
    except ValueError:
        parts = ()
    if len(parts) != 3 or min(parts) < 0 or abs(sum(parts) - 1) > 1e-9:
        raise argparse.ArgumentTypeError(f"three shares that sum to 1, as in 0.8,0.1,0.1, got '{text}'")
    return parts


def lengths(text: str) -> tuple[int, int]:
    """The argument for a least and a most, as in ``10,25``."""
    least, _, most = text.partition(",")
    if not (least.strip().isdigit() and most.strip().isdigit() and 1 <= int(least) <= int(most)):
        raise argparse.ArgumentTypeError(f"a least of at least 1 and a most, as in 10,25, got '{text}'")
    return int(least), int(most)


def one_byte_lines(name: str) -> str:
    """The argument for an encoding: one in which a line ends with a single byte."""
    try:
        fits = "\n".encode(codecs.lookup(name).name) == b"\n"
    except (LookupError, TypeError, UnicodeError):
        raise argparse.ArgumentTypeError(
            f"an encoding of text that Python knows, as utf-8 or latin-1, got '{name}'"
        ) from None
    if not fits:
        raise argparse.ArgumentTypeError(
            f"'{name}' ends lines with several bytes; convert the file: iconv -f {name} -t utf-8"
        )
    return name
