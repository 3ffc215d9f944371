"""MovieLens to a data store: GroupLens 100K (u.data), 1M and 10M (.dat), later ones (.csv), RecBole's files.

    python process/movielens.py --source ml-100k --out data/ML-100K

A rating of at least --min_rating is a like. With --protocol last, each liked movie is a training example with
the likes before it as history; a user's last like is the test and the one before it dev, each among
--num_negatives movies that the user never rated. With --protocol users, each user is in one split, by
--shares, and the last like is the only example. With --protocol rating, every rating is an example of its
own, liked or not, and the splits follow each other in time.
--plots names a table with `item_id` and `overview`, which becomes the text field `plot`; a movie that is not
in it has an empty one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from legorec.data.raw.command import (
    USERS,
    divided_arguments,
    log_arguments,
    open_writer,
    print_counts,
    run,
    shares,
    store_arguments,
    text_arguments,
)
from legorec.data.raw.fields import fields_of
from legorec.data.raw.holdout import (
    Events,
    counted_once,
    labelled_lists,
    last_left_out,
    liked_among_unmet,
    split_times,
    users_divided,
)
from legorec.data.raw.movielens import Folder, MovieLens, read_movielens
from legorec.data.raw.readers import need_columns, numbers_of
from legorec.data.raw.table_files import read_table
from legorec.data.raw.times import times_of
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter


def write(writer: StoreWriter, raw: MovieLens, args: argparse.Namespace) -> None:
    """Write everything into the store."""
    items_file, users_file, file = raw.files
    item_fields = [Column("title", "text"), Column("genres", "categories"), Column("year", "category")]
    items = raw.items
    if args.plots is not None:
        items = with_plots(items, args.plots, writer)
        item_fields.append(Column("plot", "text"))
    writer.items(items, item_fields, file=items_file)
    if raw.users is not None:
        fields = [Column("age", "number"), Column("gender", "category"), Column("occupation", "category")]
        fields = [field for field in fields if field.name in raw.users.columns]
        writer.users(*fields_of(raw.users, fields, users_file), file=users_file)
    rating = numbers_of(raw.ratings, "rating", file).to_numpy()
    times = times_of(raw.ratings, "time", file)
    user = writer.user_rows("ratings", raw.ratings["user"], file)
    item = writer.item_rows("ratings", raw.ratings["item"], file=file)
    size = (writer.num_users, writer.num_items)
    events = Events.sort(user, item, rating >= args.min_rating, times.values, *size, times.per_second)
    events = counted_once(writer, events, args.keep_doubled)
    if args.protocol == "rating":
        labelled_lists(writer, events, split_times(events.time, args.shares))
        return
    if args.protocol == "users":
        one_each = users_divided(events, args.shares, args.history_lengths, args.num_users, args.seed)
        liked_among_unmet(writer, events, one_each, args.num_negatives, args.seed)
        return
    writer.dropped("users with fewer than 2 liked movies", int((events.likes.lengths < 2).sum()))
    liked_among_unmet(writer, events, last_left_out(events), args.num_negatives, args.seed)


def with_plots(items: pl.DataFrame, path: Path, writer: StoreWriter) -> pl.DataFrame:
    """The movies with a column `plot`, of a repeated one the first.

    Raises:
        InputError: the table lacks a column.
    """
    table = read_table(path)
    need_columns(table, ["item_id", "overview"], str(path))
    plots = table.select(id=pl.col("item_id").cast(pl.String), plot=pl.col("overview").cast(pl.String))
    plots = plots.unique("id", keep="first", maintain_order=True)
    writer.dropped("plots of movies that are not there", len(plots.join(items, on="id", how="anti")))
    return items.join(plots, on="id", how="left", maintain_order="left").with_columns(
        pl.col("plot").fill_null("")
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = store_arguments(__doc__)
    parser.add_argument(
        "--source", type=Path, required=True, metavar="FOLDER", help="where the raw files lie"
    )
    parser.add_argument("--plots", type=Path, metavar="FILE", help="CSV or TSV with item_id and overview")
    parser.add_argument("--min_rating", type=float, default=4, help="the lowest rating that is a like")
    parser.add_argument("--protocol", choices=("last", "users", "rating"), default="last")
    parser.add_argument("--num_negatives", type=int, default=20, help="of each dev and test impression")
    parser.add_argument("--shares", type=shares, default="0.8,0.1,0.1", help="of train, dev, test")
    divided_arguments(parser, "--protocol users")
    text_arguments(parser, encoding=None, quoting=False)
    log_arguments(parser)
    args = parser.parse_args(arguments)
    raw = read_movielens(Folder(args.source, args.encoding))
    used = {"last": ("num_negatives",), "users": (*USERS, "num_negatives"), "rating": ("shares",)}[
        args.protocol
    ]
    with open_writer(args, "movielens", "protocol", "min_rating", *used) as writer:
        write(writer, raw, args)
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
