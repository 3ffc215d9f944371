"""Amazon-M2, the sessions of KDD Cup 2023, to a data store, as LLM-TRSR takes them.

    python process/amazon_m2.py --sessions sessions_train.csv --products products_train.csv \\
        --out data/Amazon-M2

Each session is a user with one example: its items are the history, the item after them is the click. Sessions
of one locale with --history_lengths items are taken, at most --num_users of them, drawn; --shares of them are
train, dev and test. In dev and test the click stands among --num_negatives products that are not in the
session. A product's `sentence` is all that is known of it, `name: value` after `name: value`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from legorec.data.raw.command import (
    USERS,
    Arguments,
    divided_arguments,
    open_writer,
    print_counts,
    run,
    shares,
    store_arguments,
    text_arguments,
)
from legorec.data.raw.holdout import Events, liked_among_unmet, users_divided
from legorec.data.raw.lines import InputError
from legorec.data.raw.readers import need_columns
from legorec.data.raw.table_files import read_table
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter

# Of a product, in the order of the sentence; the file's name of each.
ATTRIBUTES = {
    name: name for name in ("id", "title", "price", "brand", "color", "size", "model", "material", "author")
} | {"description": "desc"}
ID = r"'([^']*)'|\"([^\"]*)\""  # in what numpy prints of an array: ['B000' 'B001']


def read_products(args: argparse.Namespace) -> pl.DataFrame:
    """The products of the locale, each with its sentence."""
    frame = read_table(args.products, encoding=args.encoding, quoting="double")
    need_columns(frame, ["locale", *ATTRIBUTES.values()], str(args.products))
    frame = frame.filter(pl.col("locale") == args.locale)
    if not len(frame):
        raise InputError(f"{args.products}: no product is of the locale '{args.locale}' (--locale)")
    known = [
        pl.when(pl.col(source).str.strip_chars() != "").then(pl.lit(f"{name}: ") + pl.col(source))
        for name, source in ATTRIBUTES.items()
    ]
    return frame.with_columns(sentence=pl.concat_str(known, separator="; ", ignore_nulls=True))


def read_sessions(args: argparse.Namespace) -> pl.DataFrame:
    """A row for each session of the locale: its items in order, the click last."""
    frame = read_table(args.sessions, encoding=args.encoding, quoting="double")
    need_columns(frame, ["prev_items", "next_item", "locale"], str(args.sessions))
    frame = frame.with_row_index("row").filter(pl.col("locale") == args.locale)
    written = pl.col("prev_items").str.strip_chars()
    wrong = frame.filter(~(written.str.starts_with("[") & written.str.ends_with("]")))
    if len(wrong):
        raise InputError(
            f"{args.sessions}: `prev_items` must be an array as in ['B000' 'B001']; session "
            f"{wrong['row'][0] + 1} of the file has {wrong['prev_items'][0]!r}, {len(wrong):,} in all"
        )
    items = written.str.extract_all(ID).list.eval(pl.element().str.slice(1).str.head(-1))
    return frame.select(
        session=pl.concat_str(pl.lit("s"), pl.col("row") + 1), item=items.list.concat(pl.col("next_item"))
    )


def write(writer: StoreWriter, args: argparse.Namespace) -> None:
    """Everything into the store."""
    texts = [
        Column(name, "text", source) for name, source in ATTRIBUTES.items() if name not in ("id", "price")
    ]
    columns = [Column("sentence", "text"), Column("price", "number"), *texts]
    writer.items(read_products(args), columns, file=args.products)
    sessions = read_sessions(args)
    taken = sessions["item"].list.len().is_between(args.history_lengths[0] + 1, args.history_lengths[1] + 1)
    writer.dropped("sessions that are shorter or longer", int((~taken).sum()))
    rows = sessions.filter(taken).explode("item")
    user = writer.user_rows("sessions", rows["session"], args.sessions)
    item = writer.item_rows("sessions", rows["item"], file=args.sessions)
    size = (writer.num_users, writer.num_items)
    events = Events.sort(user, item, np.ones(len(rows), dtype=bool), None, *size)
    one_each = users_divided(events, args.shares, args.history_lengths, args.num_users, args.seed)
    liked_among_unmet(writer, events, one_each, args.num_negatives, args.seed)


def arguments_of_m2() -> Arguments:
    """The command line."""
    parser = store_arguments(__doc__)
    parser.add_argument("--sessions", type=Path, required=True, metavar="FILE", help="sessions_train.csv")
    parser.add_argument("--products", type=Path, required=True, metavar="FILE", help="products_train.csv")
    parser.add_argument("--locale", default="UK", help="DE, JP, UK, ES, FR or IT")
    divided_arguments(parser, "the sessions that are taken", "10,25")
    parser.set_defaults(num_users=12_000)
    parser.add_argument("--shares", type=shares, default="0.8334,0.0833,0.0833", help="of train, dev, test")
    parser.add_argument("--num_negatives", type=int, default=20, help="of each dev and test impression")
    text_arguments(parser, quoting=False)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it."""
    args = arguments_of_m2().parse_args(arguments)
    with open_writer(args, "amazon_m2", "locale", *USERS, "num_negatives") as writer:
        write(writer, args)
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
