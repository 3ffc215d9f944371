"""A data set of RecBench, in Parquet as it writes and releases them, to a data store.

    python process/recbench.py --source recbench/mind --text title --out data/RecBench-mind

The folder holds items.parquet, users.parquet (a history for each user), finetune.parquet and test.parquet
(user, item and label), and optionally valid_user_set_0.1.txt. Rows of finetune.parquet whose user is in that
file are dev, all others train; without the file a --dev_share of its users is drawn.
--group user: all rows of a user in a split are one impression.
--group row: every row is an impression; metrics then need group_by: user in the data config.
Column names differ between data sets: the item id is the column that items and interactions share (nid, asin,
business_id, ...), the user id the one that users and interactions share; --item and --user override this.
Fields are named after their column, or given as name=column; those of users are in users.parquet, or in
--users FILE.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from legorec.data.ragged import Ragged
from legorec.data.raw.command import open_writer, print_counts, run, store_arguments
from legorec.data.raw.fields import fields_of, lists_of, texts_of
from legorec.data.raw.lines import InputError, unpacked
from legorec.data.raw.readers import need_columns, numbers_of
from legorec.data.raw.table_files import scan_parquet
from legorec.data.raw.user_tables import read_user_table, user_arguments
from legorec.data.writing.columns import Column, list_parts
from legorec.data.writing.spelling import spelt_otherwise
from legorec.data.writing.user_table import UserTable
from legorec.data.writing.writer import StoreWriter

KINDS = ("text", "category", "categories", "number")
PANDAS_INDEX = "__index_level_"  # pandas writes its row numbers as columns of such names


def scan(path: Path) -> pl.LazyFrame:
    """A Parquet file without pandas' row numbers, unread."""
    table = scan_parquet(path)
    names = table.collect_schema().names()
    return table.select([name for name in names if not name.startswith(PANDAS_INDEX)])


def read(path: Path, *columns: str) -> pl.DataFrame:
    """Some columns of a file."""
    table = scan(path)
    need_columns(pl.DataFrame(schema=table.collect_schema()), columns, str(path))
    return table.select(list(dict.fromkeys(columns))).collect()


def shared_column(args: argparse.Namespace, flag: str, table: str) -> str:
    """The column that a table and the interactions share."""
    if given := getattr(args, flag):
        return str(given)
    path, other = args.source / table, args.source / "finetune.parquet"
    mine, theirs = (scan(each).collect_schema().names() for each in (path, other))
    both = [name for name in mine if name in theirs and name != args.label]
    if len(both) != 1:
        found = ", ".join(both) or "none"
        raise InputError(
            f"{path} and {other.name} must share one column, the {flag} id, they share: {found}; name it "
            f"with --{flag}. There are: {', '.join(mine)}; and: {', '.join(theirs)}"
        )
    return both[0]


def read_once(writer: StoreWriter, path: Path, key: str, columns: Sequence[str]) -> pl.DataFrame:
    """A table with every id once. Of several rows the last is used, as in RecBench."""
    frame = read(path, key, *columns)
    frame = frame.with_columns(texts_of(frame, key, str(path)))
    last = frame.unique(key, keep="last", maintain_order=True)
    changed = frame.unique().height - last.height
    writer.dropped(f"rows of {path.name} whose id came again with other content (the last is kept)", changed)
    return last


def add_items(writer: StoreWriter, args: argparse.Namespace) -> None:
    """The items with their fields."""
    path = args.source / "items.parquet"
    columns = []
    for kind in KINDS:
        for text in getattr(args, kind) or []:
            name, _, source = text.partition("=")
            columns.append(Column(name, kind, source or name))  # type: ignore[arg-type]
    columns = columns or [Column("title", "text", "title")]  # what RecBench shows of most sets
    frame = read_once(writer, path, args.item, [column.source or "" for column in columns])
    writer.items(*fields_of(frame, columns, str(path)), args.item, path)


def add_users(writer: StoreWriter, args: argparse.Namespace) -> np.ndarray:
    """Write the users and their histories; returns the lengths of the histories."""
    path = args.source / "users.parquet"
    frame = read_once(writer, path, args.user, [args.history])
    writer.users(frame.select(id=args.user), file=path)
    flat, lengths = list_parts(lists_of(frame, args.history, str(path), None))
    rows = writer.item_rows("users", flat, "item ids in histories", path)
    clicks = Ragged.from_lengths(rows, lengths).keep(rows >= 0)
    writer.sequences(clicks)
    return clicks.lengths


def fields_of_users(args: argparse.Namespace) -> UserTable | None:
    """The table of users; where fields are named and no file is, users.parquet, read as the histories are."""
    if not args.users and (args.user_category or args.user_categories or args.user_number):
        args.users, args.user_repeats = [args.source / "users.parquet"], "last"
    args.user_id = args.user_id or args.user
    return read_user_table(args)


def read_rows(args: argparse.Namespace, name: str) -> pl.DataFrame:
    """Interactions: user, item, label."""
    path = args.source / name
    frame = read(path, args.user, args.item, args.label)
    label = numbers_of(frame, args.label, str(path))
    if wrong := int((~label.is_in([0.0, 1.0])).sum()):
        raise InputError(
            f"{path}: column '{args.label}' must hold 0 and 1; {wrong:,} of {len(frame):,} values are "
            f"others, e.g. {label.filter(~label.is_in([0.0, 1.0]))[0]:g}"
        )
    user, item = (texts_of(frame, column, str(path)) for column in (args.user, args.item))
    return pl.DataFrame({"user": user, "item": item, "label": label.cast(pl.UInt8)})


def file_of_dev(source: Path) -> Path | None:
    """The file beside the tables that names the users of dev, if there is one."""
    found = sorted(source.glob("valid_user_set_*.txt"))
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise InputError(f"{source} must have one set of dev users, got {names}; name one with --dev_users")
    return found[0] if found else None


def dev_users(args: argparse.Namespace, users: pl.Series) -> pl.Series:
    """The users of finetune.parquet whose rows are dev."""
    known = users.unique().sort()
    if args.dev_users is None:
        count = round(args.dev_share * len(known))
        chosen = np.random.default_rng(args.seed).permutation(len(known))[:count]
        return known.gather(np.sort(chosen))
    lines = "".join(text for _, text in unpacked(args.dev_users)).split("\n")
    named = pl.Series([line.strip() for line in lines if line.strip()], dtype=pl.String)
    if not known.is_in(named.implode()).any():
        example = spelt_otherwise([named[0]], known) if len(named) else "it holds no line"
        raise InputError(
            f"{args.dev_users}: it must name users of finetune.parquet, one a line; none of them is there, "
            f"{example}; name another file with --dev_users"
        )
    return named


def add_split(
    writer: StoreWriter, split: str, rows: pl.DataFrame, lengths: np.ndarray, args: argparse.Namespace
) -> np.ndarray:
    """Write rows as the impressions of a split, with the user's whole history; returns the users."""
    file, group = args.source / f"{'test' if split == 'test' else 'finetune'}.parquet", args.group
    user = writer.user_rows(split, rows["user"], file)
    item = writer.item_rows(split, rows["item"], file=file)
    if group == "user":
        # The users in order of their first rows, and the rows of each in the order of the file.
        _, first, place = np.unique(user, return_index=True, return_inverse=True)
        order = np.argsort(first[place], kind="stable")
        sizes = np.bincount(first[place], minlength=len(user))
        sizes = sizes[sizes > 0]
    else:
        order, sizes = np.arange(len(user)), np.ones(len(user), np.int64)
    whole = Ragged.from_lengths(item[order], sizes)
    known = whole.values >= 0
    owner = user[order][whole.offsets[:-1]]
    stop = np.where(owner < 0, 0, lengths[owner])
    labels = rows["label"].to_numpy()[order][known]
    writer.windows(split, owner, np.zeros_like(owner), stop, whole.keep(known), labels)
    return owner[owner >= 0]


def write(writer: StoreWriter, args: argparse.Namespace) -> None:
    """Write everything into the store."""
    writer.progress.say("reading items.parquet and users.parquet")
    add_items(writer, args)
    lengths = add_users(writer, args)
    rows = read_rows(args, "finetune.parquet")
    held = rows["user"].is_in(dev_users(args, rows["user"]).implode())
    parts = {"train": rows.filter(~held), "dev": rows.filter(held), "test": read_rows(args, "test.parquet")}
    seen = []
    for split, part in parts.items():
        if not len(part):
            raise InputError(f"{args.source}: '{split}' would be empty; see --dev_users and --dev_share")
        writer.progress.say(f"{split}: {len(part):,} rows")
        seen.append(add_split(writer, split, part, lengths, args))
    unseen = np.delete(lengths, np.concatenate(seen))
    writer.dropped("histories of users without an impression", int((unseen > 0).sum()))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = store_arguments(__doc__)
    parser.add_argument("--source", type=Path, metavar="FOLDER", required=True)
    for flag, table in (("item", "items"), ("user", "users")):
        what = f"the {flag} id; without it the column that {table} and interactions share"
        parser.add_argument(f"--{flag}", metavar="COLUMN", help=what)
    parser.add_argument("--history", metavar="COLUMN", default="history", help="of users, oldest first")
    parser.add_argument("--label", metavar="COLUMN", default="click", help="of interactions, 0 or 1")
    for kind in KINDS:
        parser.add_argument(f"--{kind}", action="append", metavar="FIELD", help="of items")
    parser.add_argument("--group", choices=("user", "row"), default="user", help="what is an impression")
    parser.add_argument("--dev_users", type=Path, metavar="FILE", help="users of dev, one a line")
    parser.add_argument("--dev_share", type=float, default=0.1, help="of users, where no file names them")
    user_arguments(parser)
    parser.set_defaults(user_id=None)
    args = parser.parse_args(arguments)
    if not 0 < args.dev_share < 1:
        raise InputError(f"`dev_share` must lie between 0 and 1, got {args.dev_share:g}; see --dev_share")
    args.dev_users = args.dev_users or file_of_dev(args.source)
    args.item = shared_column(args, "item", "items.parquet")
    args.user = shared_column(args, "user", "users.parquet")
    settings = ["group", *["dev_share"] * (args.dev_users is None)]
    with open_writer(args, "recbench", *settings, users=fields_of_users(args)) as writer:
        write(writer, args)
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
