"""MovieLens to a data store: GroupLens 100K (u.data), 1M and 10M (.dat), later ones (.csv), RecBole's files.

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

from legorec.data.raw.command import (
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
)
from legorec.data.raw.lines import InputError, RawFile, encoding_of, lies_in, raw_file
from legorec.data.raw.readers import first_line, need_columns, numbers_of, read_frame
from legorec.data.raw.table_files import read_delimited
from legorec.data.raw.times import times_of
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter

GENRES = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror "
    "Musical Mystery Romance Sci-Fi Thriller War Western"
).split()
NO_GENRES = "(no genres listed)"
YEAR = r"\s*\((\d{4})\)\s*$"


@dataclass(frozen=True)
class Raw:
    """The three tables: items (id, title, year, genres), users (id, age, gender, occupation), ratings."""

    items: pl.DataFrame
    users: pl.DataFrame | None  # from 10M on nothing is known of them
    ratings: pl.DataFrame  # user, item, rating, time, line
    files: tuple[str, str, str]  # of items, users, ratings, for messages


@dataclass(frozen=True)
class Folder:
    """The files of a data set, plain or packed.

    Args:
        encoding: of all of them; None takes UTF-8 and, for a file that is not, Latin-1, as 100K and 1M are.
    """

    source: Path
    encoding: str | None = None

    def file(self, name: str) -> RawFile:
        """A file by name."""
        return raw_file(lies_in(self.source, name) or self.source / name)

    def has(self, name: str) -> bool:
        """Whether it is there."""
        return lies_in(self.source, name) is not None

    def encoding_of(self, file: RawFile) -> str:
        """The encoding of a file."""
        return self.encoding or encoding_of(file, otherwise="latin-1")

    def rows(self, name: str, columns: Sequence[str], separator: str) -> pl.DataFrame:
        """A file without quotes and header."""
        file = self.file(name)
        return read_frame(file, columns, separator, encoding=self.encoding_of(file))

    def table(self, name: str, names: dict[str, str]) -> pl.DataFrame:
        """A CSV with a header and the columns of ``names`` renamed."""
        file = self.file(name)
        frame = read_delimited(file, ",", encoding=self.encoding_of(file))
        need_columns(frame, list(names), file.label)
        return frame.rename(names)

    def labels(self, *names: str) -> tuple[str, str, str]:
        """The files of items, users and ratings, for messages."""
        items, users, ratings = (str(lies_in(self.source, name) or self.source / name) for name in names)
        return items, users, ratings


def read_100k(folder: Folder) -> Raw:
    """GroupLens 100K: ``u.data``, ``u.item``, ``u.user``."""
    items = folder.rows("u.item", ["id", "name", "release", "video", "url", *GENRES], "|")
    genres = pl.concat_list(
        pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in GENRES[1:]
    ).list.drop_nulls()
    items = items.select("id", *title_and_year(), genres=genres)
    users = folder.rows("u.user", ["id", "age", "gender", "occupation", "zip"], "|")
    ratings = folder.rows("u.data", ["user", "item", "rating", "time"], "\t")
    return Raw(items, users, ratings, folder.labels("u.item", "u.user", "u.data"))


def read_dat(folder: Folder) -> Raw:
    """GroupLens 1M and 10M: ``ratings.dat``, ``movies.dat`` and, in 1M, ``users.dat`` with codes of ages and
    occupations."""
    items = folder.rows("movies.dat", ["id", "name", "genres"], "::")
    items = items.select("id", *title_and_year(), genres=genres_of("genres"))
    users = None
    if folder.has("users.dat"):
        users = folder.rows("users.dat", ["id", "gender", "age", "occupation", "zip"], "::")
    ratings = folder.rows("ratings.dat", ["user", "item", "rating", "time"], "::")
    return Raw(items, users, ratings, folder.labels("movies.dat", "users.dat", "ratings.dat"))


def read_csv(folder: Folder) -> Raw:
    """GroupLens 20M, 25M, 32M, latest and latest-small: ``ratings.csv`` and ``movies.csv``."""
    items = folder.table("movies.csv", {"movieId": "id", "title": "name", "genres": "genres"})
    items = items.select("id", *title_and_year(), genres=genres_of("genres"))
    names = {"userId": "user", "movieId": "item", "rating": "rating", "timestamp": "time"}
    ratings = folder.table("ratings.csv", names)
    return Raw(items, None, ratings, folder.labels("movies.csv", "users.csv", "ratings.csv"))


def genres_of(name: str) -> pl.Expr:
    """Genres apart by ``|``; "(no genres listed)" is none."""
    return pl.col(name).replace(NO_GENRES, "").str.split("|").list.filter(pl.element() != "")


def read_atomic(folder: Folder) -> Raw:
    """RecBole's atomic files: one ``.inter``, ``.item`` and, for small sets, ``.user``, ``name:type`` in the
    first line."""
    names = {"item_id": "id", "movie_title": "title", "release_year": "year"}
    items, items_file = read_typed(folder, "item", names)
    genres = "class" if "class" in items.columns else "genre"
    need_columns(items, [genres], items_file)
    items = items.with_columns(genres=pl.col(genres).str.split(" "))
    users, users_file = None, ""
    if any(folder.source.glob("*.user")):
        users, users_file = read_typed(folder, "user", {"user_id": "id", "age": "age"})
    names = {"user_id": "user", "item_id": "item", "rating": "rating", "timestamp": "time"}
    ratings, file = read_typed(folder, "inter", names)
    return Raw(items, users, ratings, (items_file, users_file, file))


def read_typed(folder: Folder, ending: str, names: dict[str, str]) -> tuple[pl.DataFrame, str]:
    """One atomic file with the columns of ``names`` renamed, and its label."""
    found = sorted(folder.source.glob(f"*.{ending}"))
    if len(found) != 1:
        raise InputError(f"{folder.source}: there must be one .{ending} file, found {len(found)}")
    file = raw_file(found[0])
    encoding = folder.encoding_of(file)
    header = [cell.partition(":")[0] for cell in first_line(file, encoding).split("\t")]
    frame = read_frame(file, header, skip_lines=1, encoding=encoding)
    need_columns(frame, list(names), file.label)
    return frame.rename(names), file.label


def title_and_year() -> tuple[pl.Expr, pl.Expr]:
    """``Toy Story (1995)`` in two columns."""
    name = pl.col("name")
    return name.str.replace(YEAR, "").alias("title"), name.str.extract(YEAR, 1).alias("year")


def read(folder: Folder) -> Raw:
    """The tables in the folder, in whichever format it has."""
    for name, layout in (("u.data", read_100k), ("ratings.dat", read_dat), ("ratings.csv", read_csv)):
        if folder.has(name):
            return layout(folder)
    if any(folder.source.glob("*.inter")):
        return read_atomic(folder)
    raise InputError(
        f"{folder.source}: there is no u.data, ratings.dat, ratings.csv or .inter file in this folder; other "
        "tables are read by process/tables.py"
    )


def write(writer: StoreWriter, raw: Raw, args: argparse.Namespace) -> None:
    """Write everything into the store."""
    items_file, users_file, file = raw.files
    item_fields = [Column("title", "text"), Column("genres", "categories"), Column("year", "category")]
    writer.items(raw.items, item_fields, file=items_file)
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
    text_arguments(parser, encoding=None, quoting=False)
    log_arguments(parser)
    args = parser.parse_args(arguments)
    raw = read(Folder(args.source, args.encoding))
    used = ("num_negatives",) if args.protocol == "last" else ("shares",)
    with open_writer(args, "movielens", "protocol", "min_rating", *used) as writer:
        write(writer, raw, args)
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
