"""Any tables to a data store: items, and what users did with them, in CSV, TSV, JSON or Parquet.

    python process/tables.py --items books.tsv --item_id bid --text title --text about=description \\
        --histories histories.tsv --user uid --history history --out data/Goodreads

Either --histories (one row per user, items in order) or --interactions (one row per user and item). Fields
are named as their column, or name=column. With --no_header columns are called 1, 2, 3 and so on.
--split last: the last liked item of a user is the test, the one before it dev, every earlier one train;
    in dev and test it stands among --num_negatives items that the user never met.
--split time: train, dev and test follow each other in time, with --shares.
--split column: --split_column says train, dev or test.
With --label or --rating, and a split by time or column, the candidates are what the table holds, and --group
(an impression id) puts rows of a user into one list; else they are drawn as for --split last.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from legorec.data.raw.command import (
    Arguments,
    log_arguments,
    open_writer,
    print_counts,
    run,
    shares,
    store_arguments,
    text_arguments,
)
from legorec.data.raw.fields import fields_of, lists_of, texts_of
from legorec.data.raw.holdout import (
    SPLITS,
    Events,
    counted_once,
    labelled_lists,
    last_left_out,
    liked_among_unmet,
    split_times,
)
from legorec.data.raw.lines import InputError
from legorec.data.raw.readers import need_columns, numbers_of
from legorec.data.raw.table_files import read_table
from legorec.data.raw.times import UNITS, times_of
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter

KINDS = ("text", "category", "categories", "number")


def read(args: argparse.Namespace, path: Path) -> pl.DataFrame:
    """A table, as the arguments say."""
    return read_table(path, not args.no_header, args.separator, args.encoding, args.quoting)


def read_fields(args: argparse.Namespace, path: Path, prefix: str = "") -> tuple[pl.DataFrame, list[Column]]:
    """A table of items or users, with lists split, and its fields."""
    columns = []
    for kind in KINDS:
        for text in getattr(args, prefix + kind, None) or []:
            name, _, source = text.partition("=")
            columns.append(Column(name, kind, source or name))  # type: ignore[arg-type]
    return fields_of(read(args, path), columns, str(path), args.list_separator)


def read_actions(args: argparse.Namespace, items: pl.Series) -> tuple[pl.DataFrame, str]:
    """One row per user and item, in order, whichever table was given; and the label of its file.

    Args:
        items: the ids in the table of items.
    """
    path = args.histories or args.interactions
    frame, label = read(args, path), str(path)
    if args.histories is None:
        names = (args.item, args.label, args.rating, args.time, args.split_column, args.group)
        need_columns(frame, [args.user, *(name for name in names if name)], label)
        ids = {name: texts_of(frame, name, label) for name in (args.user, args.item, args.group) if name}
        return frame.with_columns(**ids), label
    need_columns(frame, [args.user, args.history], label)
    user = texts_of(frame, args.user, label)
    item = lists_of(frame, args.history, label, args.list_separator, items)
    lists = pl.DataFrame({args.user: user, args.item: item})
    return lists.filter(pl.col(args.item).list.len() > 0).explode(args.item), label


def read_liked(frame: pl.DataFrame, args: argparse.Namespace, label: str) -> np.ndarray:
    """Which rows are likes: all of them, where there is neither label nor rating."""
    if args.rating:
        return numbers_of(frame, args.rating, label).to_numpy() >= args.min_rating
    if not args.label:
        return np.ones(len(frame), dtype=bool)
    values = numbers_of(frame, args.label, label).to_numpy()
    if not np.isin(values, (0, 1)).all():
        raise InputError(f"{label}: column '{args.label}' must hold 0 and 1; for ratings there is --rating")
    return values == 1


def read_part(frame: pl.DataFrame, args: argparse.Namespace, label: str) -> np.ndarray:
    """0, 1, 2 for what --split_column calls train, dev, test."""
    column = texts_of(frame, args.split_column, label, "to be splits").replace("valid", "dev")
    part = column.replace_strict(
        dict(zip(SPLITS, range(3), strict=True)), default=-1, return_dtype=pl.Int64
    ).to_numpy()
    if (part < 0).any():
        wrong = column.filter(pl.Series(part < 0))
        raise InputError(
            f"{label}: column '{args.split_column}' must hold train, dev (or valid) or test; {len(wrong):,} "
            f"of {len(frame):,} rows hold something else, e.g. {wrong[0]!r}"
        )
    return part


def write(writer: StoreWriter, args: argparse.Namespace) -> None:
    """Everything into the store."""
    items, columns = read_fields(args, args.items)
    need_columns(items, [args.item_id], str(args.items))
    ids = texts_of(items, args.item_id, str(args.items))
    writer.items(items.with_columns(ids), columns, args.item_id, args.items)
    if args.users:
        users, columns = read_fields(args, args.users, "user_")
        need_columns(users, [args.user_id], str(args.users))
        names = texts_of(users, args.user_id, str(args.users))
        writer.users(users.with_columns(names), columns, args.user_id, args.users)
    frame, label = read_actions(args, ids)
    liked, group, times = read_liked(frame, args, label), None, None
    if args.time:
        times = times_of(frame, args.time, label, args.time_unit, args.time_format)
        if times.per_second > 1 and not args.time_unit and not args.time_format:
            writer.progress.say(f"{label}: '{args.time}' is taken for {times.unit} (--time_unit)")
    user = writer.user_rows("interactions", frame[args.user], label)
    item = writer.item_rows("interactions", frame[args.item], file=label)
    moments = (times.values if times else None, writer.num_users, writer.num_items)
    events = Events.sort(user, item, liked, *moments, times.per_second if times else 1)
    if args.group:
        group = frame[args.group].rank("dense").to_numpy()
    events = counted_once(writer, events, args.keep_doubled, group)
    if args.split == "last":
        writer.dropped("users with fewer than 2 liked items", int((events.likes.lengths < 2).sum()))
        liked_among_unmet(writer, events, last_left_out(events), args.num_negatives, args.seed)
        return
    part = read_part(frame, args, label)[events.order] if args.split == "column" else None
    if part is None:
        part = split_times(events.time, args.shares)
    if not (args.label or args.rating):
        liked_among_unmet(writer, events, part, args.num_negatives, args.seed)
        return
    labelled_lists(writer, events, part, None if group is None else group[events.order])


def check(args: argparse.Namespace) -> None:
    """Which arguments go together."""
    if (args.histories is None) == (args.interactions is None):
        raise InputError("give one of --histories and --interactions")
    if args.histories is not None and args.history is None:
        raise InputError("--histories needs --history, the column of the items")
    if args.label and args.rating:
        raise InputError("give --label or --rating, not both")
    if args.histories is not None and (args.split != "last" or args.label or args.rating or args.time):
        raise InputError("--histories goes with --split last, and without --label, --rating and --time")
    if args.split == "time" and not args.time:
        raise InputError("--split time needs --time, the column of the time")
    if (args.split == "column") != bool(args.split_column):
        raise InputError("--split column and --split_column go together")
    if args.group and (args.split == "last" or not (args.label or args.rating)):
        raise InputError("--group needs --label or --rating, and --split time or column")


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
    parser.add_argument("--time_format", help="of times as text, as in strptime; without it they are numbers")
    parser.add_argument(
        "--time_unit", choices=UNITS, help="what numbers of --time count; without it their size shows it"
    )
    parser.add_argument("--split", choices=("last", "time", "column"), default="last")
    parser.add_argument(
        "--num_negatives", type=int, default=20, help="drawn for each dev and test impression"
    )
    parser.add_argument("--shares", type=shares, default="0.8,0.1,0.1", help="of train, dev, test in time")
    parser.add_argument("--separator", help="between columns; known for .csv, .tsv and .txt")
    parser.add_argument("--list_separator", default=" ", help="within lists")
    text_arguments(parser)
    log_arguments(parser)
    parser.add_argument("--no_header", action="store_true", help="the tables have no line of column names")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it."""
    args = arguments_of_tables().parse_args(arguments)
    check(args)
    settings = ["split", "min_rating"] if args.rating else ["split"]
    settings += ["shares"] if args.split == "time" else ["num_negatives"]
    with open_writer(args, "tables", *settings) as writer:
        write(writer, args)
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
