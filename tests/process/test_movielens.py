"""MovieLens in three formats: the same store from each, the last like left out, no leak."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from legorec.data.raw.movielens import GENRES
from legorec.data.store import Store
from process.movielens import main
from tests.support.raw_files import candidates, history, made, refusal, shared
from tests.support.small_store import files

MOVIES = [(str(number), f"Movie {number}", str(1980 + number % 5)) for number in range(1, 41)]
# user, item, rating, time; user 3 has one like, user 4 two, and equal times keep the order of the file.
RATINGS = [
    ("1", "5", 5, 100), ("1", "6", 2, 101), ("1", "7", 4, 99), ("1", "8", 5, 103), ("1", "9", 4, 103),
    ("2", "1", 4, 50), ("2", "2", 5, 60), ("2", "3", 5, 40), ("2", "4", 1, 45),
    ("3", "1", 5, 10), ("3", "2", 1, 11),
    ("4", "10", 5, 10), ("4", "11", 5, 20),
]  # fmt: skip
FLAGS = {"Comedy": "1", "Drama": "1"}


def users_of(ratings: list) -> list[str]:
    return sorted({user for user, *_ in ratings})


def write_100k(path: Path, ratings: list = RATINGS, movies: list = MOVIES) -> Path:
    path.mkdir()
    flags = "|".join(FLAGS.get(genre, "0") for genre in GENRES)
    lines = [f"{key}|{title} ({year})|01-Jan-1995||http://x|{flags}" for key, title, year in movies]
    (path / "u.item").write_bytes("\n".join(lines).encode("latin-1") + b"\n")
    (path / "u.user").write_text("".join(f"{user}|2{user}|M|writer|0\n" for user in users_of(ratings)))
    (path / "u.data").write_text("".join("\t".join(map(str, rating)) + "\n" for rating in ratings))
    return path


def write_1m(path: Path, ratings: list = RATINGS, movies: list = MOVIES) -> Path:
    path.mkdir()
    lines = [f"{key}::{title} ({year})::Comedy|Drama" for key, title, year in movies]
    (path / "movies.dat").write_bytes("\n".join(lines).encode("latin-1") + b"\n")
    (path / "users.dat").write_text("".join(f"{user}::M::2{user}::writer::0\n" for user in users_of(ratings)))
    (path / "ratings.dat").write_text("".join("::".join(map(str, rating)) + "\n" for rating in ratings))
    return path


def write_atomic(path: Path, ratings: list = RATINGS, movies: list = MOVIES) -> Path:
    path.mkdir()
    rows = "".join(f"{key}\t{title}\t{year}\tComedy Drama\n" for key, title, year in movies)
    header = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    (path / "ml.item").write_text(header + rows)
    header = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    (path / "ml.user").write_text(
        header + "".join(f"{user}\t2{user}\tM\twriter\t0\n" for user in users_of(ratings))
    )
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    lines = ["\t".join(map(str, rating)) for rating in ratings]
    (path / "ml.inter").write_text(header + "\n".join(lines) + "\n")
    return path


def test_three_formats_give_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for write in (write_100k, write_1m, write_atomic):
        source = write(tmp_path / write.__name__)
        made(main, tmp_path / f"{write.__name__}.store", "--source", source)
        found.append(files(tmp_path / f"{write.__name__}.store"))
    assert found[0] == found[1] == found[2]


def write_10m(path: Path, encoding: str = "utf-8") -> Path:
    """1M's layout without users, in half stars."""
    write_1m(path, [(user, item, rating - 0.5, time) for user, item, rating, time in RATINGS])
    (path / "users.dat").unlink()
    text = (path / "movies.dat").read_text().replace("Movie 1 ", "Misérables, Les ")
    (path / "movies.dat").write_bytes(text.encode(encoding))
    return path


def write_csv(path: Path) -> Path:
    """20M and later."""
    path.mkdir()
    rows = [f'{key},"{title}, The ({year})",Comedy|Drama' for key, title, year in MOVIES[:-1]]
    (path / "movies.csv").write_text(
        "\n".join(["movieId,title,genres", *rows, "40,Untitled,(no genres listed)"])
    )
    lines = [f"{user},{item},{rating - 0.5},{time}" for user, item, rating, time in RATINGS]
    (path / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *lines]))
    for name in ("links", "tags"):
        (path / f"{name}.csv").write_text("not,read\n")
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_later_sets_have_half_stars_and_no_users(tmp_path: Path, packed: bool) -> None:
    first = made(main, tmp_path / "100k", "--source", write_100k(tmp_path / "raw"))
    for write in (write_10m, write_csv):
        source = write(tmp_path / write.__name__)
        for file in list(source.iterdir()) * packed:
            (source / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
        store = made(main, tmp_path / f"{write.__name__}.store", "--source", source, "--min_rating", 3.5)
        assert not store.users.field_names and store.vocabulary("genres") == ["Comedy", "Drama"]
        for split in store.splits:
            for row in range(len(store.interactions(split))):
                assert history(store, split, row) == history(first, split, row)
        assert store.items.field("year").rows.lengths.tolist() == [1] * 39 + [int(write is write_10m)]
    assert store.items.text("title")[0] == "Movie 1, The" and store.items.text("title")[39] == "Untitled"
    assert len(store.items.field("genres").rows[39]) == 0


def test_titles_are_read_as_they_were_written(tmp_path: Path) -> None:
    for encoding in ("utf-8", "latin-1"):
        source = write_10m(tmp_path / encoding, encoding)
        store = made(main, tmp_path / f"{encoding}.store", "--source", source)
        assert store.items.text("title")[0] == "Misérables, Les"
    other = made(main, tmp_path / "other", "--source", source, "--encoding", "cp850")
    assert other.items.text("title")[0] == "MisÚrables, Les"


@pytest.mark.parametrize(
    ("name", "message"), [("klingon", "that Python knows"), ("utf-16", "iconv -f utf-16")]
)
def test_encodings_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    arguments = ["--source", tmp_path, "--out", tmp_path / "store", "--encoding", name]
    assert message in refusal(main, arguments, capsys)


def test_the_last_like_is_left_out(tmp_path: Path) -> None:
    store = made(main, tmp_path / "store", "--source", write_100k(tmp_path / "raw"))
    users = {split: store.users.ids.take(store.interactions(split).user) for split in store.splits}
    assert users == {"train": ["1"], "dev": ["1", "2"], "test": ["1", "2", "4"]}
    assert (history(store, "train", 0), candidates(store, "train", 0)) == (["7"], {"5": 1})
    assert history(store, "dev", 0) == ["7", "5"] and candidates(store, "dev", 0)["8"] == 1
    assert history(store, "test", 0) == ["7", "5", "8"] and candidates(store, "test", 0)["9"] == 1
    assert history(store, "test", 2) == ["10"] and candidates(store, "test", 2)["11"] == 1
    met = {user: {item for who, item, *_ in RATINGS if who == user} for user in "1234"}
    for split in ("dev", "test"):
        for row, user in enumerate(users[split]):
            shown = candidates(store, split, row)
            assert len(shown) == 21 and sum(shown.values()) == 1
            assert not {item for item, label in shown.items() if not label} & met[user]
    assert store.manifest["dropped"]["rows"] == {"users with fewer than 2 liked movies": 1}
    assert store.items.visible.sum() == 2, "training sees movies 7 and 5 alone"
    assert store.histories.tolist() == [6, 4, 7, 2, 0, 9], "a last like is no history"


def test_fields(tmp_path: Path) -> None:
    store = made(main, tmp_path / "store", "--source", write_100k(tmp_path / "raw"))
    assert store.items.text("title")[0] == "Movie 1" and store.vocabulary("genres") == ["Comedy", "Drama"]
    assert store.items.field("genres").rows[0].tolist() == [0, 1]
    assert store.vocabulary("year")[store.items.field("year").rows[0][0]] == "1981"
    assert store.users.field("age").rows[0].tolist() == [21.0] and store.users.field_names[0] == "age"


def test_ratings_by_time(tmp_path: Path) -> None:
    source = write_100k(tmp_path / "raw")
    store = made(
        main, tmp_path / "store", "--source", source, "--protocol", "rating", "--shares", "0.6,0.2,0.2"
    )
    tables = [store.interactions(split) for split in ("train", "dev", "test")]
    assert sum(map(len, tables)) == len(RATINGS) and tables[0].time.max() < tables[1].time.min()
    assert all(table.candidates.lengths.max() == 1 for table in tables)
    assert sum(int(table.labels.sum()) for table in tables) == sum(rating >= 4 for _, _, rating, _ in RATINGS)
    last = len(tables[2]) - 1
    rows = [candidates(store, "test", row) for row in range(last + 1)]
    assert {"9": 1} in rows and history(store, "test", rows.index({"9": 1})) == ["7", "5", "8"]


def test_malformed_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(source: Path, *extra: object) -> str:
        return refusal(main, ["--source", source, "--out", tmp_path / "store", *extra], capsys)

    assert "no u.data, ratings.dat, ratings.csv or .inter file in this folder" in said(tmp_path)
    source = write_100k(tmp_path / "a", [*RATINGS, ("1", "2", "five", 3)])
    assert said(source).endswith(
        "u.data: line 14: rating must be a number, got 'five'; 1 malformed line in all"
    )
    source = write_100k(tmp_path / "b", [*RATINGS, ("1", "2", 3)])
    assert said(source).endswith("u.data: line 14: it must have 4 columns, got 3; 1 malformed line in all")
    source = write_100k(tmp_path / "c", [*RATINGS, ("1", "999", 5, 1)])
    assert "1 of 14 item ids (ratings) are in no table (7.1%), e.g. '999', and the table has '1'" in said(
        source
    )
    source = write_100k(tmp_path / "d")
    assert "`num_negatives` must be at most" in said(source, "--num_negatives", 39)
    source = write_atomic(tmp_path / "e")
    (source / "ml.item").write_text("item_id:token\ttitle:token_seq\n1\tx\n")
    assert "no column 'movie_title'; did you mean 'title'?" in said(source)
    assert not list(tmp_path.glob("store*"))


def test_unknown_movies_within_the_share(tmp_path: Path) -> None:
    source = write_100k(tmp_path / "raw", [*RATINGS, ("1", "999", 5, 102)])
    store = made(main, tmp_path / "store", "--source", source, "--max_missing", 0.1)
    assert history(store, "dev", 0) == ["7", "5"]


def test_ml_100k(tmp_path: Path) -> None:
    source = shared("ml-100k")
    store = made(main, tmp_path / "store", "--source", source)
    assert (len(store.items), len(store.users)) == (1682, 943)
    test, train = store.interactions("test"), store.interactions("train")
    assert len(test) == len(store.interactions("dev")) == 942 and (test.candidates.lengths == 21).all()
    assert (train.labels == 1).all() and len(train) == 52549
    place = test.candidates.rows[test.labels == 1]
    assert len(np.unique(place)) == 942
    first = test.labels[test.candidates.offsets[:-1]].mean()
    assert first < 0.2, "the place of a candidate tells nothing"
    made(main, tmp_path / "again", "--source", source)
    assert files(tmp_path / "store") == files(tmp_path / "again")


def test_plots_become_a_text_and_a_movie_without_one_has_none(tmp_path: Path) -> None:
    plots = tmp_path / "plots.tsv"
    lines = ["item_id\toverview\tkeywords", "2\tTwo go out.\tx", "2\tAgain.\ty", "99\tOf none.\tz"]
    plots.write_text("\n".join(lines) + "\n")
    arguments = ["--source", str(write_100k(tmp_path / "raw")), "--out", str(tmp_path / "store")]
    main([*arguments, "--plots", str(plots), "--tokenizer", "words"])
    items = Store.open(tmp_path / "store").items
    assert [items.text("plot")[row] for row in (0, 1, 2)] == ["", "Two go out.", ""]
    assert "plots of movies that are not there" in str(Store.open(tmp_path / "store").manifest["dropped"])
