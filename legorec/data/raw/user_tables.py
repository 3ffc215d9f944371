"""The arguments that name a table of users with their fields, and reading it."""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

from legorec.data.raw.command import Arguments
from legorec.data.raw.fields import lists_of, spelled
from legorec.data.raw.lines import InputError
from legorec.data.raw.readers import need_columns
from legorec.data.raw.table_files import read_table, scan_parquet
from legorec.data.writing.columns import Column
from legorec.data.writing.user_table import UserTable

KINDS = ("category", "categories", "number")


def user_arguments(parser: Arguments, required: bool = False) -> None:
    """Add the arguments of a table of users; without ``required`` it may be left out."""
    group = parser.add_argument_group("a table of users")
    group.add_argument(
        "--users",
        type=Path,
        nargs="+",
        metavar="FILE",
        required=required,
        help="CSV, TSV, JSONL or Parquet with fields of the users; several are read as one",
    )
    group.add_argument("--user_id", default="user", metavar="COLUMN", help="in --users")
    for kind in KINDS:
        group.add_argument(
            f"--user_{kind}", action="append", metavar="FIELD", help="of users, COLUMN or NAME=COLUMN"
        )
    group.add_argument(
        "--user_separator", metavar="TEXT", help="between columns; known for .csv, .tsv and .txt"
    )
    group.add_argument("--user_list_separator", default=" ", metavar="TEXT", help="within lists")
    group.add_argument(
        "--user_repeats",
        choices=("refuse", "first", "last"),
        default="refuse",
        help="what is done with further rows of a user that say something else",
    )


def read_user_table(args: argparse.Namespace) -> UserTable | None:
    """The table that the arguments name, or None.

    Raises:
        InputError: a file is malformed or lacks a column, files differ in their columns, or of table and
            fields only one is named.
        StoreError: an id is missing, or a user has rows that differ.
    """
    columns = []
    for kind in KINDS:
        for text in getattr(args, f"user_{kind}") or []:
            name, _, source = text.partition("=")
            columns.append(Column(name, kind, source or name))  # type: ignore[arg-type]
    if not args.users:
        if columns:
            raise InputError(f"--user_{columns[0].kind} is a column of --users FILE, which is not given")
        return None
    label = " and ".join(path.name for path in args.users)
    if not columns:
        flags = ", ".join(f"--user_{kind}" for kind in KINDS)
        raise InputError(f"--users needs the columns that become fields, with {flags}")
    wanted = list(dict.fromkeys([args.user_id, *(column.source or "" for column in columns)]))
    lists = [column.source or "" for column in columns if column.kind == "categories"]
    parts = []
    for path in args.users:
        frame = _columns(path, wanted, args.user_separator)
        frame = frame.with_columns(
            lists_of(frame, name, str(path), args.user_list_separator) for name in lists
        )
        plain = [spelled(frame[name]) for name in frame.columns if name not in lists]
        parts.append(frame.with_columns(plain))  # files may differ in their types
    return UserTable.of(pl.concat(parts), columns, args.user_id, label, args.user_repeats)


def _columns(path: Path, wanted: list[str], separator: str | None) -> pl.DataFrame:
    """Some columns of a table; of a Parquet file, which may be a whole log, no others are read."""
    if path.suffix.lower() != ".parquet":
        frame = read_table(path, separator=separator)
        need_columns(frame, wanted, str(path))
        return frame.select(wanted)
    return scan_parquet(path, *wanted).select(wanted).collect()
