"""Goodreads: ONCE's filters, splits in time, dislikes in the split of their time, no leak; bad files."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from legorec.data.raw import lines
from legorec.data.raw.command import run
from legorec.data.raw.holdout import SPLITS
from legorec.data.store import Store
from legorec.data.writing.writer import StoreWriter
from process.goodreads import CLOCK, main
from tests.support.raw_files import candidates, history, made, refusal
from tests.support.small_store import files

Row = dict[str, Any]
CORE = ("--min_item_users", 4, "--min_user_likes", 5, "--num_negatives", 3)


def book(number: int, **others: Any) -> Row:
    """A line of goodreads_books.json.gz, with some of what stands beside the keys that are read."""
    shelves = [{"count": "9", "name": "to-read"}]
    return {
        "isbn": "", "popular_shelves": shelves, "is_ebook": "false", "similar_books": ["7", "8"], "link": "",
        "description": f'About "cats" {number}', "authors": [{"author_id": str(number % 5), "role": ""}],
        "publication_year": "1982", "book_id": str(100 + number), "title": f"Book {number}", **others,
    }  # fmt: skip


def interaction(user: int, item: int, rating: int, second: int) -> Row:
    """A line of goodreads_interactions_dedup.json.gz."""
    late = datetime.fromtimestamp(1_400_000_000 + second, timezone(-timedelta(hours=7))).strftime(CLOCK)
    early = datetime.fromtimestamp(1_300_000_000 - second, UTC).strftime(CLOCK)
    return {
        "user_id": f"u{user:031d}", "book_id": str(100 + item), "review_id": "5f", "is_read": rating > 0,
        "rating": rating, "review_text_incomplete": 'He said \\"rating\\": 1 and "rating": 2, then {left}',
        "date_added": early, "date_updated": late, "read_at": "", "started_at": "",
    }  # fmt: skip


def shelves(seed: int = 0, users: int = 24) -> list[Row]:
    """Shelves on which some users and books have too little, at distinct moments."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        for item in rng.choice(40, int(rng.integers(4, 30)), replace=False, p=np.arange(1, 41) / 820):
            rating = int(rng.choice([0, 1, 2, 3, 4, 5], p=[0.2, 0.1, 0.1, 0.1, 0.2, 0.3]))
            rows.append((user, int(item), rating))
    order = rng.permutation(len(rows))
    return [interaction(*row, int(second)) for row, second in zip(rows, order, strict=True)]


def write_lines(path: Path, rows: list[Row]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def raw(folder: Path, rows: list[Row], end: str = ".gz") -> tuple[Any, ...]:
    """The arguments that name the files."""
    books = write_lines(folder / f"goodreads_books.json{end}", [book(number) for number in range(40)])
    log = write_lines(folder / f"goodreads_interactions_dedup.json{end}", rows)
    return ("--books", books, "--interactions", log)


def moment(row: Row) -> int:
    return int(datetime.strptime(row["date_updated"], CLOCK).timestamp())


def expected_core(rows: list[Row], most: int = 10_000) -> list[Row]:
    """What ONCE's filters leave, one row at a time."""
    rows = [row for row in rows if row["rating"] in (1, 2, 4, 5)]
    size = Counter(row["book_id"] for row in rows)
    rows = [row for row in rows if size[row["book_id"]] <= most]
    while True:
        readers = Counter(row["book_id"] for row in rows)
        likes = Counter(row["user_id"] for row in rows if row["rating"] > 3)
        kept = [row for row in rows if readers[row["book_id"]] >= 4 and likes[row["user_id"]] >= 5]
        if len(kept) == len(rows):
            return sorted(kept, key=lambda row: (row["user_id"], moment(row)))
        rows = kept


def impressions(store: Store, split: str) -> list[tuple[str, list[str], dict[str, int], int]]:
    """User, history, labelled candidates and time of every impression."""
    table = store.interactions(split)
    users, times = store.users.ids.take(table.user), table.time
    assert times is not None
    rows = range(len(table))
    return [(users[n], history(store, split, n), candidates(store, split, n), int(times[n])) for n in rows]


def liked(labels: dict[str, int]) -> str:
    return max(labels, key=lambda item: labels[item])


def sees_nothing_of_later(store: Store) -> None:
    """No user's training shows what is liked, or is a negative, in dev and test."""
    seen: dict[str, set[str]] = {user: set() for user in store.users.ids}
    for user, before, labels, _ in impressions(store, "train"):
        seen[user] |= {*before, *labels}
    held = [each for split in SPLITS[1:] for each in impressions(store, split)]
    assert held and not any(seen[user] & set(labels) for user, _, labels, _ in held)


def test_the_filters_are_those_of_once(tmp_path: Path) -> None:
    rows = shelves()
    store = made(main, tmp_path / "store", *raw(tmp_path, rows), *CORE)
    kept = expected_core(rows)
    users, items = {row["user_id"] for row in kept}, {row["book_id"] for row in kept}
    assert 0 < len(users) < 24 and 0 < len(items) < 40, "the data leaves something out"
    assert set(store.users.ids) == users and set(store.items.ids) == items
    counted, ratings = store.manifest["dropped"]["rows"], Counter(row["rating"] for row in rows)
    assert counted["interactions without a rating"] == ratings[0]
    assert counted["ratings of 3, neither like nor dislike"] == ratings[3]
    again = made(main, tmp_path / "most", *raw(tmp_path, rows), *CORE, "--max_item_users", 14)
    assert set(again.items.ids) == {row["book_id"] for row in expected_core(rows, 14)} < items


@pytest.mark.parametrize("split", ["last", "share"])
def test_every_like_with_the_likes_before_it_and_the_dislikes_between(tmp_path: Path, split: str) -> None:
    rows = shelves()
    store = made(main, tmp_path / "store", *raw(tmp_path, rows), *CORE, "--split", split)
    met = {(row["user_id"], row["book_id"]) for row in rows}
    found = {name: impressions(store, name) for name in SPLITS}
    early = 0
    for user in store.users.ids:
        own = [row for row in expected_core(rows) if row["user_id"] == user]
        likes = [row["book_id"] for row in own if row["rating"] > 3]
        beside: list[set[str]] = [set() for _ in likes]
        for place, row in enumerate(own):
            if row["rating"] < 3:  # rated 0 or 3 is in neither
                before = sum(each["rating"] > 3 for each in own[:place])
                beside[min(before, len(likes) - 1)].add(row["book_id"])
        early += len(beside[0])
        shown = [each for name in SPLITS for each in found[name] if each[0] == user]
        assert all(sum(each[2].values()) == 1 for each in shown)
        assert [each[1] for each in shown] == [likes[:place] for place in range(1, len(likes))]
        assert [liked(each[2]) for each in shown] == likes[1:], "in time, through the splits"
        given = [{item for item in each[2] if (user, item) in met} for each in shown]
        assert given == [{like} | disliked for like, disliked in zip(likes[1:], beside[1:], strict=True)]
        assert [each[3] for each in shown] == [moment(row) for row in own if row["rating"] > 3][1:]
        held = max(1, round(0.1 * (len(likes) - 1))) if split == "share" else 1
        assert all(sum(each[0] == user for each in found[name]) == held for name in SPLITS[1:])
    for name in SPLITS:
        drawn = [sum((user, item) not in met for item in labels) for user, _, labels, _ in found[name]]
        assert set(drawn) == ({0} if name == "train" else {3}), "drawn books are on no shelf"
    assert store.manifest["dropped"]["rows"]["dislikes before the first like of a user"] == early > 0
    sees_nothing_of_later(store)


@pytest.mark.slow
def test_the_store_depends_on_data_and_seed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = shelves()
    one = made(main, tmp_path / "one", *raw(tmp_path, rows), *CORE)
    plain = raw(tmp_path / "plain", rows[::-1], end="")
    monkeypatch.setattr(lines, "BLOCK", 1000)
    made(main, tmp_path / "two", *plain, *CORE)
    assert files(tmp_path / "one") == files(tmp_path / "two"), "gzip or not, in any order, in any blocks"
    halves = [write_lines(tmp_path / f"{half}.json.gz", rows[half::2]) for half in (0, 1)]
    parts = made(main, tmp_path / "parts", *plain[:3], *halves, *halves[:1], *CORE)
    assert parts.manifest["dropped"]["rows"]["ratings of a book that the user rated again"] > 100
    assert impressions(parts, "test") == impressions(one, "test")
    other = made(main, tmp_path / "other", *raw(tmp_path, rows), *CORE, "--seed", 1)
    assert other.digest != one.digest and impressions(other, "train") == impressions(one, "train")
    early = made(main, tmp_path / "early", *raw(tmp_path, rows), *CORE, "--time", "date_added")
    (_, before, labels, _), (_, after, last, _) = (impressions(each, "test")[0] for each in (early, one))
    assert [*before, liked(labels)] == [*after, liked(last)][::-1], "the two dates run against each other"


def test_users_are_drawn_by_the_seed(tmp_path: Path) -> None:
    rows = shelves(users=60)
    arguments = (*raw(tmp_path, rows), *CORE, "--num_users", 25)
    stores = [made(main, tmp_path / f"s{seed}", *arguments, "--seed", seed) for seed in (1, 2)]
    assert set(stores[0].users.ids) != set(stores[1].users.ids)
    for store in stores:
        users, items = set(store.users.ids), set(store.items.ids)
        left = [row for row in rows if row["user_id"] in users and row["rating"] in (1, 2, 4, 5)]
        assert 0 < len(users) <= 25 and store.manifest["made_with"]["num_users"] == 25
        assert len(expected_core(left)) == sum(row["book_id"] in items for row in left)
        assert store.manifest["dropped"]["rows"]["ratings by users who were not drawn"] > 0
    assert made(main, tmp_path / "again", *arguments, "--seed", 1).digest == stores[0].digest


def test_the_table_without_times(tmp_path: Path) -> None:
    """goodreads_interactions.csv: users and books are numbered anew, and rows count as they stand."""
    rows = sorted(shelves(), key=lambda row: (row["user_id"], moment(row)))
    source, log, ids = raw(tmp_path, rows), tmp_path / "goodreads_interactions.csv", tmp_path / "ids.csv"
    table = [f"{int(row['user_id'][1:])},{139 - int(row['book_id'])},1,{row['rating']},0" for row in rows]
    log.write_text("\n".join(["user_id,book_id,is_read,rating,is_reviewed", *table, ""]))
    ids.write_text("\r\n".join(["book_id_csv,book_id", *(f"{139 - n},{n}" for n in range(100, 140))]))
    csv = (*source[:2], "--interactions", log, "--book_map", ids, "--time", "file")
    store, timed = (made(main, tmp_path / f"{len(each)}", *each, *CORE) for each in (csv, source))
    assert sorted(store.items.ids) == list(timed.items.ids) and store.interactions("test").time is None
    mine = {int(user): history(store, "test", row) for row, user in enumerate(store.users.ids)}
    assert mine == {int(user[1:]): before for user, before, _, _ in impressions(timed, "test")}


def test_fields(tmp_path: Path) -> None:
    source = raw(tmp_path, shelves())
    half = book(38, title="Half \ud83d", description=None, authors=[])
    write_lines(source[1], [*map(book, range(38)), half, book(39), book(39, title="Another")])
    authors = [{"author_id": str(n), "name": f"A. {n}", "average_rating": "4"} for n in range(4)]
    genres = [{"book_id": str(n), "genres": {"poetry": 3, "a, b": 1} if n % 2 else {}} for n in range(140)]
    named = ("--authors", write_lines(tmp_path / "goodreads_book_authors.json.gz", authors))
    named += ("--genres", write_lines(tmp_path / "goodreads_book_genres_initial.json.gz", genres))
    store = made(main, tmp_path / "store", *source, *CORE, *named)
    rows = store.items.index(["137", "138", "139"])
    assert store.items.text("title").take(rows) == ["Book 37", "Half ?", "Book 39"]
    assert store.items.text("description").take(rows) == ['About "cats" 37', "", 'About "cats" 39']
    assert store.vocabulary("authors") == ["4", "A. 0", "A. 1", "A. 2", "A. 3"], "author 4 has no name"
    assert store.vocabulary("genres") == ["a, b", "poetry"]
    assert store.items.field("authors").rows.lengths[rows].tolist() == [1, 0, 1]
    assert store.items.field("genres").rows.lengths[rows].tolist() == [2, 0, 2]
    assert store.manifest["dropped"]["rows"]["books that came again (the first is kept)"] == 1


def test_bad_files_and_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = raw(tmp_path, shelves())
    packed, log = source[3].read_bytes(), tmp_path / "log"

    def said(text: bytes | Row | None = None, *extra: Any) -> str:
        if text is not None:
            row = text if isinstance(text, bytes) else json.dumps(interaction(1, 2, 5, 3) | text).encode()
            log.write_bytes(row)
        given = source if text is None else (*source[:3], log)
        return refusal(main, [*given, *CORE, *extra, "--out", tmp_path / "store"], capsys)

    keys = "it must hold user_id, book_id, rating, date_updated; 1 malformed line in all"
    for text, message in [
        ({"user_id": None}, f"log: line 1: {keys}"),
        ({"rating": "five"}, "log: line 1: rating must be a number, got 'five'"),
        ({"rating": 6}, "log: line 1: rating must be a whole number from 0 to 5"),
        ({"date_updated": "19.4.2013"}, "log: line 1: date_updated must be a time as Fri Apr 19"),
        (b"\n" + json.dumps(interaction(1, 2, 5, 3)).encode()[:-1], f"log: line 2: {keys}"),
        (json.dumps(book(1)).encode(), f"log: line 1: {keys}"),
        (packed[:-40], "log: cannot be read"),
        (packed[:30] + b"x" + packed[31:], "log: cannot be read"),
        (b"\x00\xff\xfe", "log: line 1 is not utf-8 text"),
        (b"user,book\n1,2\n", "log: neither JSON lines nor a CSV with a column 'user_id'"),
        (b"", "no user and no book is left; lower --min_item_users"),
    ]:
        assert message in said(text), message
    assert "no user and no book is left; lower --min_item_users" in said(None, "--min_item_users", 25)
    assert "`min_user_likes` must be at least 2, got 1; the default is 10" in said(
        None, "--min_user_likes", 1
    )
    assert "--time file and --book_map go together or not at all" in said(None, "--time", "file")
    assert "go together" in said(None, "--book_map", "x.csv")
    write_lines(source[1], [*map(book, range(40)), {"book_id": "7"}])
    assert said().endswith(
        "line 41: it must be a JSON object with book_id and title; 1 malformed line in all"
    )
    write_lines(source[1], [*map(book, range(39))])
    assert "book ids (ratings) are in no table" in (problem := said()) and "(--max_missing)" in problem
    assert not list(tmp_path.glob("store*")), "nothing is left of what was refused"
    store = made(main, tmp_path / "store", *source, *CORE, "--max_missing", 1, "--num_negatives", 1)
    assert max(store.items.ids) == "138" and store.manifest["dropped"]["ids"]["ratings"]


def interrupted(main: Callable[..., None], tmp_path: Path, *arguments: Any) -> None:
    """Ctrl-C while a script writes."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(StoreWriter, "windows", stop)
        run(main, [str(part) for part in (*arguments, "--out", tmp_path / "store")])
    assert ended.value.code == 130 and not list(tmp_path.glob("store*"))


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    interrupted(main, tmp_path, *raw(tmp_path, shelves()), *CORE)
