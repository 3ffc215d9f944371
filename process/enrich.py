"""Merge what a language model wrote into a data store, as GENRE does.

    python process/enrich.py merge --store data/Goodreads --scheme config/exp/generate-books-cs.yaml \\
        --log answers/books-cs.jsonl --out data/Goodreads-cs
    python process/enrich.py check --scheme config/exp/generate-books-cs.yaml --log book_summarizer.log
    python process/enrich.py export-log --scheme config/exp/generate-books-cs.yaml \\
        --log answers/books-cs.jsonl --out book_summarizer.log

A log is that of a run in mode generate, or one as ONCE wrote them: an id, a tab and the answer, or JSON
lines with `uid` and `interest`, `news` or `book`. The scheme is that of the run: its exp layer, or the
settings that the run saved. Fields of items become texts beside the old ones, fields of users a profile, and
generated items stand in the histories of their users alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from legorec.data.raw.command import Arguments, print_counts, run
from legorec.data.raw.lines import InputError
from legorec.data.store import Store
from legorec.data.writing.progress import Progress
from legorec.files.whole import save_whole
from legorec.settings.scheme import SchemeSettings
from legorec.settings.scheme_file import read_scheme
from legorec.texts.answers import Answers, answers_of, once_lines, read_log
from legorec.texts.merging import Merge, merge


def say(text: str) -> None:
    """A line for who watches."""
    print(text, file=sys.stderr, flush=True)


def print_answers(answers: Answers) -> None:
    """What came of the lines of the logs."""
    for what, count in answers.counts.items():
        print(f"  {count:,} {what}")


def scheme_of(args: argparse.Namespace) -> SchemeSettings:
    """The scheme that the arguments name."""
    keys = dict(text.partition("=")[::2] for text in args.key or ())
    return read_scheme(args.scheme, keys)


def merging(args: argparse.Namespace) -> None:
    """A store and answers to a new store."""
    if not 0 <= args.max_missing <= 1:
        raise InputError(f"`max_missing` must lie between 0 and 1, got {args.max_missing:g}")
    store, scheme = Store.open(args.store), scheme_of(args)
    answers = answers_of(scheme, args.log, args.template, say)
    asked = Merge(
        store, scheme, scheme.model_dump(), answers, args.ids == "rows", args.max_missing, args.train
    )
    if not merge(asked, args.out, args.overwrite, Progress.on_stderr()):
        print(f"{args.out}: it carries this generation already; nothing was changed")
    else:
        print(f"{args.out}: {asked.generation['template']}")
        for what, count in Store.open(args.out).manifest["generations"][-1]["counts"].items():
            if count:
                print(f"  {count:,} {what}")
    print_counts(args.out)


def checking(args: argparse.Namespace) -> None:
    """Read logs and say what came of their lines; nothing is written."""
    print_answers(answers_of(scheme_of(args), args.log, args.template, say))


def exporting(args: argparse.Namespace) -> None:
    """A log as ONCE has them."""
    scheme, said = scheme_of(args), {}
    for path in args.log:
        said.update({each.id: each for each in read_log(path, say) if each.texts and each.failed is None})
    lines = [*once_lines(scheme, said.values())]
    if args.out.exists() and not args.overwrite:
        raise InputError(f"{args.out}: it exists; give another name, or --overwrite to replace it")
    save_whole(args.out, "".join(f"{line}\n" for line in lines).encode())
    print(f"{args.out}: {len(lines):,} answers")


def arguments_of(job: str) -> Arguments:
    """The command line of one job."""
    parser = Arguments(__doc__, prog=f"enrich.py {job}")
    parser.add_argument("--scheme", type=Path, required=True, metavar="YAML")
    parser.add_argument(
        "--key", action="append", metavar="KEY=VALUE", help="what references in the YAML read"
    )
    parser.add_argument("--log", type=Path, action="append", required=True, metavar="FILE")
    if job != "export-log":
        parser.add_argument("--template", help="whose answers are taken; that of the scheme")
    if job == "merge":
        parser.add_argument("--store", type=Path, required=True, metavar="FOLDER")
        parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the store to write")
        parser.add_argument(
            "--ids", choices=("raw", "rows"), default="raw", help="what the ids of the logs are, in the store"
        )
        parser.add_argument(
            "--max_missing", type=float, default=0.01, help="share of answers whose id may be in no table"
        )
        parser.add_argument("--train", default="train", help="the split that prompts of users were made from")
    if job == "export-log":
        parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the log to write")
    if job != "check":
        parser.add_argument("--overwrite", action="store_true", help="replace what is at --out")
    return parser


JOBS: dict[str, Callable[[argparse.Namespace], None]] = {
    "merge": merging,
    "check": checking,
    "export-log": exporting,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = Arguments(__doc__)
    parser.add_argument("job", choices=tuple(JOBS))
    job = parser.parse_args(words[:1]).job
    JOBS[job](arguments_of(job).parse_args(words[1:]))


if __name__ == "__main__":
    run(main)
