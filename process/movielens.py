"""MovieLens to a data store: GroupLens 100K (u.data), 1M (.dat) and RecBole's atomic files.

    python process/movielens.py --source ml-100k --out data/ML-100K

A rating of at least --min_rating is a like. With --protocol last, each liked movie is a training example with
the likes before it as history; a user's last like is the test and the one before it dev, each among
--num_negatives movies that the user never rated. With --protocol rating, every rating is an example of its
own, liked or not, and the splits follow each other in time.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from legorec.data.raw.command import open_writer, print_counts, run, shares, store_arguments
from legorec.data.raw.holdout import Events, labelled_lists, last_left_out, liked_among_unmet, split_times
from legorec.data.raw.lines import InputError, raw_file
from legorec.data.raw.readers import first_line, need_columns, numbers_of, read_frame
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter

GENRES = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror "
    "Musical Mystery Romance Sci-Fi Thriller War Western"
).split()
YEAR = r"\s*\((\d{4})\)\s*$"


@dataclass(frozen=True)
class Raw:
    """The three tables: items (id, title, year, genres), users (id, age, gender, occupation), ratings."""

    items: pl.DataFrame
    users: pl.DataFrame
    ratings: pl.DataFrame  # user, item, rating, time, line
    label: str  # of the ratings file


def read_100k(source: Path) -> Raw:
    """GroupLens 100K: ``u.data``, ``u.item``, ``u.user``."""
    movie = ["id", "name", "release", "video", "url", *GENRES]
    items = read_frame(raw_file(source / "u.item"), movie, "|", encoding="latin-1")
    genres = pl.concat_list(
        pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in GENRES[1:]
    ).list.drop_nulls()
    items = items.select("id", *title_and_year(), genres=genres)
    user = ["id", "age", "gender", "occupation", "zip"]
    users = read_frame(raw_file(source / "u.user"), user, "|", encoding="latin-1")
    file = raw_file(source / "u.data")
    return Raw(items, users, read_frame(file, ["user", "item", "rating", "time"]), file.label)


def read_1m(source: Path) -> Raw:
    """GroupLens 1M: ``ratings.dat``, ``movies.dat``, ``users.dat``, latin-1; ages and occupations are
    codes."""
    items = read_frame(raw_file(source / "movies.dat"), ["id", "name", "genres"], "::", encoding="latin-1")
    items = items.select("id", *title_and_year(), genres=pl.col("genres").str.split("|"))
    user = ["id", "gender", "age", "occupation", "zip"]
    users = read_frame(raw_file(source / "users.dat"), user, "::", encoding="latin-1")
    file = raw_file(source / "ratings.dat")
    return Raw(items, users, read_frame(file, ["user", "item", "rating", "time"], "::"), file.label)


def read_atomic(source: Path) -> Raw:
    """RecBole's atomic files: one ``.inter``, ``.item`` and ``.user`` each, ``name:type`` in the first
    line."""
    items, _ = read_typed(source, "item", {"item_id": "id", "movie_title": "title", "release_year": "year"})
    genres = "class" if "class" in items.columns else "genre"
    need_columns(items, [genres], f"{source}/*.item")
    items = items.with_columns(genres=pl.col(genres).str.split(" "))
    users, _ = read_typed(source, "user", {"user_id": "id", "age": "age"})
    names = {"user_id": "user", "item_id": "item", "rating": "rating", "timestamp": "time"}
    return Raw(items, users, *read_typed(source, "inter", names))


def read_typed(source: Path, ending: str, names: dict[str, str]) -> tuple[pl.DataFrame, str]:
    """One atomic file with the columns of ``names`` renamed, and its label."""
    found = sorted(source.glob(f"*.{ending}"))
    if len(found) != 1:
        raise InputError(f"{source}: there must be one .{ending} file, found {len(found)}")
    file = raw_file(found[0])
    header = [cell.partition(":")[0] for cell in first_line(file).split("\t")]
    frame = read_frame(file, header, skip_lines=1)
    need_columns(frame, list(names), file.label)
    return frame.rename(names), file.label


def title_and_year() -> tuple[pl.Expr, pl.Expr]:
    """``Toy Story (1995)`` in two columns."""
    name = pl.col("name")
    return name.str.replace(YEAR, "").alias("title"), name.str.extract(YEAR, 1).alias("year")


def read(source: Path) -> Raw:
    """The tables in the folder, in whichever format it has."""
    if (source / "u.data").is_file():
        return read_100k(source)
    if (source / "ratings.dat").is_file():
        return read_1m(source)
    if any(source.glob("*.inter")):
        return read_atomic(source)
    raise InputError(f"{source}: there is no u.data, ratings.dat or .inter file in this folder")


def write(writer: StoreWriter, raw: Raw, args: argparse.Namespace) -> None:
    """Write everything into the store."""
    writer.items(
        raw.items, [Column("title", "text"), Column("genres", "categories"), Column("year", "category")]
    )
    user_fields = [Column("age", "number"), Column("gender", "category"), Column("occupation", "category")]
    writer.users(raw.users, [field for field in user_fields if field.name in raw.users.columns])
    rating = numbers_of(raw.ratings, "rating", raw.label).to_numpy()
    time = numbers_of(raw.ratings, "time", raw.label).cast(pl.Int64).to_numpy()
    user = writer.user_rows("ratings", raw.ratings["user"])
    item = writer.item_rows("ratings", raw.ratings["item"])
    liked = rating >= args.min_rating
    events = Events.sort(user, item, liked, time, writer.num_users, writer.num_items)
    if args.protocol == "rating":
        labelled_lists(writer, events, split_times(events.time, args.shares))
        return
    writer.dropped("users with fewer than 2 liked movies", int((events.likes.lengths < 2).sum()))
    liked_among_unmet(writer, events, last_left_out(events), args.num_negatives, args.seed)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = store_arguments(__doc__)
    parser.add_argument(
        "--source", type=Path, required=True, metavar="FOLDER", help="where the raw files lie"
    )
    parser.add_argument("--min_rating", type=float, default=4, help="the lowest rating that is a like")
    parser.add_argument("--protocol", choices=("last", "rating"), default="last")
    parser.add_argument("--num_negatives", type=int, default=20, help="of each dev and test impression")
    parser.add_argument("--shares", type=shares, default="0.8,0.1,0.1", help="of train, dev, test in time")
    args = parser.parse_args(arguments)
    raw = read(args.source)
    used = ("num_negatives",) if args.protocol == "last" else ("shares",)
    with open_writer(args, "movielens", "protocol", "min_rating", *used) as writer:
        write(writer, raw, args)
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
