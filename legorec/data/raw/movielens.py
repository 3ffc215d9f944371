"""MovieLens as published: GroupLens 100K (u.data), 1M and 10M (.dat), later ones (.csv), RecBole's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from legorec.data.raw.lines import InputError, RawFile, encoding_of, lies_in, raw_file
from legorec.data.raw.readers import first_line, need_columns, read_frame
from legorec.data.raw.table_files import read_delimited

GENRES = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror "
    "Musical Mystery Romance Sci-Fi Thriller War Western"
).split()
NO_GENRES = "(no genres listed)"
YEAR = r"\s*\((\d{4})\)\s*$"


@dataclass(frozen=True)
class MovieLens:
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


def read_100k(folder: Folder) -> MovieLens:
    """GroupLens 100K: ``u.data``, ``u.item``, ``u.user``."""
    items = folder.rows("u.item", ["id", "name", "release", "video", "url", *GENRES], "|")
    genres = pl.concat_list(
        pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in GENRES[1:]
    ).list.drop_nulls()
    items = items.select("id", *title_and_year(), genres=genres)
    users = folder.rows("u.user", ["id", "age", "gender", "occupation", "zip"], "|")
    ratings = folder.rows("u.data", ["user", "item", "rating", "time"], "\t")
    return MovieLens(items, users, ratings, folder.labels("u.item", "u.user", "u.data"))


def read_dat(folder: Folder) -> MovieLens:
    """GroupLens 1M and 10M: ``ratings.dat``, ``movies.dat`` and, in 1M, ``users.dat`` with codes of ages and
    occupations."""
    items = folder.rows("movies.dat", ["id", "name", "genres"], "::")
    items = items.select("id", *title_and_year(), genres=genres_of("genres"))
    users = None
    if folder.has("users.dat"):
        users = folder.rows("users.dat", ["id", "gender", "age", "occupation", "zip"], "::")
    ratings = folder.rows("ratings.dat", ["user", "item", "rating", "time"], "::")
    return MovieLens(items, users, ratings, folder.labels("movies.dat", "users.dat", "ratings.dat"))


def read_csv(folder: Folder) -> MovieLens:
    """GroupLens 20M, 25M, 32M, latest and latest-small: ``ratings.csv`` and ``movies.csv``."""
    items = folder.table("movies.csv", {"movieId": "id", "title": "name", "genres": "genres"})
    items = items.select("id", *title_and_year(), genres=genres_of("genres"))
    names = {"userId": "user", "movieId": "item", "rating": "rating", "timestamp": "time"}
    ratings = folder.table("ratings.csv", names)
    return MovieLens(items, None, ratings, folder.labels("movies.csv", "users.csv", "ratings.csv"))


def genres_of(name: str) -> pl.Expr:
    """Genres apart by ``|``; "(no genres listed)" is none."""
    return pl.col(name).replace(NO_GENRES, "").str.split("|").list.filter(pl.element() != "")


def read_atomic(folder: Folder) -> MovieLens:
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
    return MovieLens(items, users, ratings, (items_file, users_file, file))


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


def read_movielens(folder: Folder) -> MovieLens:
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
