"""Any tables to a data store: items, and what users did with them, in CSV, TSV, JSON or Parquet.

    python process/tables.py --items books.tsv --item_id bid --text title --text about=description \\
        --histories histories.tsv --user uid --history history --out data/Goodreads

Either --histories (one row per user, items in order) or --interactions (one row per user and item). Fields
are named as their column, or name=column. With --no_header columns are called 1, 2, 3 and so on.
--split last: the last liked item of a user is the test, the one before it dev, every earlier one train;
    in dev and test it stands among --num_negatives items that the user never met.
--split users: each user is in one split, with --shares, and the last liked item is the only example, among
    --num_negatives others in dev and test; --history_lengths says how many items may come before it.
--split time: train, dev and test follow each other in time, with --shares.
--split column: --split_column says train, dev or test.
With --like OLD_STORE and without --text, --category, ... the fields are those of that store.
With --label or --rating, and a split by time or column, the candidates are what the table holds, and --group
(an impression id) puts rows of a user into one list; else they are drawn as for --split last.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from legorec.data.raw.command import (
    Arguments,
    divided_arguments,
    log_arguments,
    open_writer,
    print_counts,
    run,
    shares,
    store_arguments,
    text_arguments,
)
from legorec.data.raw.lines import InputError
from legorec.data.raw.readers import LINE
from legorec.data.raw.table_files import read_table
from legorec.data.raw.tables import HELD_OUT, KINDS, Reading, Source, write_tables
from legorec.data.raw.times import UNITS
from legorec.data.writing.columns import Column
from legorec.data.writing.like import Like


def source_of(args: argparse.Namespace, path: Path, prefix: str | None = None) -> Source:
    """A table with its fields, as the arguments say.

    Args:
        prefix: of the arguments that name its fields; None: it has none.
    """
    frame = read_table(path, not args.no_header, args.separator, args.encoding, args.quoting)
    columns = []
    for kind in KINDS if prefix is not None else ():
        for text in getattr(args, f"{prefix}{kind}", None) or []:
            name, _, source = text.partition("=")
            columns.append(Column(name, kind, source or name))  # type: ignore[arg-type]
    if prefix is not None and not columns and args.like is not None:
        columns = Like.open(args.like).columns("users" if prefix else "items")
    return Source(frame, str(path), columns, _way_out(args.no_header) if LINE in frame.columns else "")


def _way_out(no_header: bool) -> str:
    """What can be done where a delimited file lacks a column."""
    if no_header:
        return "; with --no_header columns are called 1, 2, 3 and so on"
    return "; if its first line holds values and no names, say --no_header, and columns are called 1, 2, 3"


def reading_of(args: argparse.Namespace) -> Reading:
    """Which columns are what, after a look at what goes together."""
    if (args.histories is None) == (args.interactions is None):
        raise InputError("give one of --histories and --interactions")
    if args.histories is not None and args.history is None:
        raise InputError("--histories needs --history, the column of the items")
    names = [each.name for each in fields(Reading) if each.name != "spelled"]
    given = {name: getattr(args, name) for name in names}
    if args.histories is None:
        given["history"] = None
    return Reading(**given, spelled="--{}")


def arguments_of_tables() -> Arguments:
    """The command line."""
    parser = store_arguments(__doc__)
    parser.add_argument("--items", type=Path, required=True, metavar="FILE")
    parser.add_argument("--item_id", default="item", metavar="COLUMN", help="in the items table")
    parser.add_argument("--users", type=Path, metavar="FILE", help="a table of users, if there is one")
    parser.add_argument("--user_id", default="user", metavar="COLUMN", help="in the users table")
    for prefix, what in (("", "items"), ("user_", "users")):
        for kind in KINDS if not prefix else KINDS[1:]:
            parser.add_argument(f"--{prefix}{kind}", action="append", metavar="FIELD", help=f"of {what}")
    parser.add_argument("--interactions", type=Path, metavar="FILE")
    parser.add_argument("--histories", type=Path, metavar="FILE")
    for name in ("user", "item"):
        parser.add_argument(f"--{name}", default=name, metavar="COLUMN", help="in the interactions table")
    for name in ("history", "label", "rating", "time", "split_column", "group"):
        parser.add_argument(f"--{name}", metavar="COLUMN")
    parser.add_argument("--min_rating", type=float, default=4, help="the lowest rating that is a like")
    parser.add_argument(
        "--time_format", help="of times as text, as in strptime; without it numbers or ISO 8601"
    )
    parser.add_argument(
        "--time_unit", choices=UNITS, help="what numbers of --time count; without it their size shows it"
    )
    parser.add_argument("--split", choices=HELD_OUT, default="last")
    parser.add_argument(
        "--num_negatives", type=int, default=20, help="drawn for each dev and test impression"
    )
    parser.add_argument("--shares", type=shares, default="0.8,0.1,0.1", help="of train, dev, test")
    divided_arguments(parser, "--split users")
    parser.add_argument("--separator", help="between columns; known for .csv, .tsv and .txt")
    parser.add_argument("--list_separator", default=" ", help="within lists")
    text_arguments(parser)
    log_arguments(parser)
    parser.add_argument("--no_header", action="store_true", help="the tables have no line of column names")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it."""
    args = arguments_of_tables().parse_args(arguments)
    reading = reading_of(args)
    users = source_of(args, args.users, "user_") if args.users else None
    items = source_of(args, args.items, "")
    actions = source_of(args, args.histories or args.interactions)
    names = [name for name in reading.recorded if name not in ("seed", "keep_doubled")]
    with open_writer(args, "tables", *names) as writer:
        write_tables(writer, reading, items, actions, users)
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
