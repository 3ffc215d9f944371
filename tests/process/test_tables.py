"""Any tables: four formats, headers or numbers, histories or interactions, three splits."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from process.tables import main
from tests.support.raw_files import candidates, history, made, refusal, shared
from tests.support.small_store import files

ITEMS = {
    "book": [f"b{number}" for number in range(30)],
    "name": ['A, quoted "title"', ""] + [f"Title {number}" for number in range(28)],
    "tags": ["x y", ""] + ["y"] * 28,
    "price": ["1.5", ""] + ["2"] * 28,
}
LOG = {
    "user": ["u", "u", "u", "v", "u", "v", "v", "w", "w"],
    "book": ["b1", "b2", "b3", "b1", "b4", "b5", "b6", "b1", "b2"],
    "stars": ["5", "1", "4", "5", "5", "4", "2", "5", "5"],
    "when": ["1", "2", "3", "1", "4", "5", "6", "7", "8"],
    "part": ["train", "train", "train", "train", "valid", "dev", "test", "test", "test"],
    "view": ["1", "1", "2", "3", "4", "5", "6", "7", "7"],
}  # fmt: skip
FIELDS = ("--item_id", "book", "--text", "title=name", "--categories", "tags", "--number", "price")


def write(folder: Path, name: str, columns: dict[str, list[str]], header: bool = True) -> Path:
    path, frame = folder / name, pl.DataFrame(columns)
    folder.mkdir(exist_ok=True)
    if name.endswith(".parquet"):
        frame.write_parquet(path)
    elif name.endswith(".jsonl"):
        frame.write_ndjson(path)
    elif name.endswith(".csv"):
        frame.write_csv(path, include_header=header)
    else:
        rows = [columns] * header + list(frame.iter_rows())
        path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_four_formats_give_the_same_bytes(tmp_path: Path, ending: str) -> None:
    stores = []
    for kind in ("tsv", ending):
        items, log = (
            write(tmp_path / kind, f"{name}.{kind}", table)
            for name, table in (("items", ITEMS), ("log", LOG))
        )
        source = ("--items", items, *FIELDS, "--interactions", log, "--item", "book")
        made(main, tmp_path / f"{kind}.store", *source, "--rating", "stars", "--time", "when", "--overwrite")
        stores.append(files(tmp_path / f"{kind}.store"))
    assert stores[0] == stores[1]


def test_the_last_like_of_interactions(tmp_path: Path) -> None:
    items, log = write(tmp_path, "items.tsv", ITEMS), write(tmp_path, "log.tsv", LOG)
    store = made(
        main, tmp_path / "store", "--items", items, *FIELDS, "--interactions", log, "--item", "book",
        "--rating", "stars", "--time", "when", "--num_negatives", 5,
    )  # fmt: skip
    assert history(store, "test", 0) == ["b1", "b3"] and candidates(store, "test", 0)["b4"] == 1
    assert "b2" not in candidates(store, "test", 0), "a disliked book is no negative that was never met"
    assert store.items.text("title")[0] == 'A, quoted "title"'
    assert store.items.field("tags").rows[0].tolist() == [0, 1]
    assert len(store.items.field("price").rows[1]) == 0


def test_a_split_column_with_labels_and_groups(tmp_path: Path) -> None:
    items, log = write(tmp_path, "items.tsv", ITEMS), write(tmp_path, "log.tsv", LOG)
    source = ("--items", items, *FIELDS, "--interactions", log, "--item", "book", "--rating", "stars")
    store = made(
        main, tmp_path / "store", *source, "--split", "column", "--split_column", "part", "--group", "view"
    )
    assert candidates(store, "train", 0) == {"b1": 1, "b2": 0} and history(store, "train", 0) == []
    assert candidates(store, "train", 1) == {"b3": 1} and history(store, "train", 1) == ["b1"]
    assert candidates(store, "test", 1) == {"b1": 1, "b2": 1} and history(store, "test", 1) == []
    assert history(store, "dev", 0) == ["b1", "b3"] and len(store.interactions("dev")) == 2


def test_a_split_by_time(tmp_path: Path) -> None:
    items, log = write(tmp_path, "items.tsv", ITEMS), write(tmp_path, "log.tsv", LOG)
    source = ("--items", items, *FIELDS, "--interactions", log, "--item", "book", "--time", "when")
    store = made(main, tmp_path / "store", *source, "--split", "time", "--shares", "0.6,0.2,0.2")
    assert [len(store.interactions(split)) for split in ("train", "dev", "test")] == [5, 2, 2]
    assert sum(candidates(store, "dev", 0).values()) == 1 and len(candidates(store, "dev", 0)) == 21
    labelled = made(
        main,
        tmp_path / "labelled",
        *source,
        "--split",
        "time",
        "--rating",
        "stars",
        "--shares",
        "0.6,0.2,0.2",
    )
    assert labelled.interactions("test").candidates.lengths.tolist() == [1, 1]


def test_histories_without_a_header(tmp_path: Path) -> None:
    items = write(tmp_path, "items.tsv", {"1": ITEMS["book"], "2": ITEMS["name"]}, header=False)
    log = write(tmp_path, "log.csv", {"1": ["u", "v", "w"], "2": ["b1|b2|b1", "", "b3|b4"]}, header=False)
    store = made(
        main, tmp_path / "store", "--no_header", "--items", items, "--item_id", 1, "--text", "title=2",
        "--histories", log, "--user", 1, "--history", 2, "--list_separator", "|",
    )  # fmt: skip
    assert len(store.items) == 30 and history(store, "test", 0) == ["b1", "b2"]
    assert candidates(store, "test", 0)["b1"] == 1 and history(store, "test", 1) == ["b3"]


def test_lists_of_json_and_users(tmp_path: Path) -> None:
    items = tmp_path / "items.jsonl"
    items.write_text("".join(json.dumps({"item": f"b{n}", "tags": ["x y", "z"]}) + "\n" for n in range(30)))
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({"user": n, "history": ["b1", "b2", "b3"]}) + "\n" for n in range(3)))
    users = write(tmp_path, "users.tsv", {"uid": ["0", "1", "2"], "city": ["x", "y", ""]})
    store = made(
        main, tmp_path / "store", "--items", items, "--categories", "tags", "--histories", log,
        "--history", "history", "--users", users, "--user_id", "uid", "--user_category", "city",
    )  # fmt: skip
    assert store.vocabulary("tags") == ["x y", "z"] and list(store.users.ids) == ["0", "1", "2"]
    assert [row.tolist() for row in store.users.field("city").rows] == [[0], [1], []]


def test_lists_of_texts_and_histories_whose_ids_hold_the_separator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = ["1", "2", "1 2", *(f"b{n}" for n in range(20))]
    items = tmp_path / "items.json"
    items.write_text(json.dumps([{"item": each, "features": ["Red", f"no. {each}"]} for each in ids]))
    clicks = [["1 2", "1", "2"], ["b1", "1 2", "b3"]]
    lists, texts = tmp_path / "lists.jsonl", tmp_path / "texts.csv"
    rows = [{"user": n, "history": each} for n, each in enumerate(clicks)]
    lists.write_text("\n".join(map(json.dumps, rows)))
    pl.DataFrame({"user": [0, 1], "history": [json.dumps(each) for each in clicks]}).write_csv(texts)
    source = ("--items", items, "--text", "features", "--history", "history", "--num_negatives", 2)
    for log in (lists, texts):
        store = made(main, tmp_path / "store", *source, "--histories", log, "--overwrite")
        assert [history(store, "test", row) for row in (0, 1)] == [each[:2] for each in clicks]
        assert store.items.text("features")[2] == "Red no. 1 2"
    texts.write_text("user,history\nu,1 2 b1\n")
    said = refusal(main, [*source, "--histories", texts, "--out", tmp_path / "no"], capsys)
    assert (
        "texts.csv: column 'history' holds lists as texts, split at ' ', and ids hold it, e.g. '1 2'" in said
    )


def test_bad_files_and_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items, log = write(tmp_path, "items.tsv", ITEMS), write(tmp_path, "log.tsv", LOG)
    source = ["--items", items, *FIELDS, "--item", "book", "--out", tmp_path / "store"]

    def said(*extra: object) -> str:
        return refusal(main, [*source, *extra], capsys)

    def bad(name: str, text: str | bytes) -> Path:
        (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return tmp_path / name

    for extra, message in [
        ([], "give one of --histories and --interactions"),
        (["--interactions", log, "--split", "time"], "--split time needs --time"),
        (["--interactions", log, "--split_column", "part"], "go together"),
        (["--interactions", log, "--rating", "star"], "no column 'star'; did you mean 'stars'?"),
        (["--interactions", log, "--label", "stars"], "must hold 0 and 1; for ratings there is --rating"),
        (["--interactions", log, "--rating", "part"], "must be a number, got 'train'"),
        (["--interactions", log, "--split", "column", "--split_column", "view"], "must hold train, dev"),
        (["--interactions", tmp_path / "no.tsv"], "no.tsv: there is no such file"),
        (["--interactions", bad("x.dat", "1")], "give --separator, or a file ending in"),
        (["--interactions", bad("x.parquet", "1")], "x.parquet: not a readable Parquet file"),
        (["--interactions", bad("x.tsv", "")], "x.tsv: its first line is empty"),
        (["--interactions", bad("t.tsv", "user\tuser\n")], "t.tsv: a column name occurs twice"),
        (
            ["--interactions", bad("q.csv", 'user,book\nu,"b,1"\nv\nv,b1,2\n')],
            "q.csv: line 3: it must have 2 columns, got 1; 2 malformed lines in all",
        ),
        (["--interactions", bad("o.csv", 'user,book\nu,"b1\n')], "o.csv: line 2: unexpected end of data"),
        (["--interactions", bad("n.csv", "user,book\nu,b1\nv\n")], "n.csv: line 3: it must have 2 columns"),
        (
            ["--interactions", bad("j.jsonl", '{"user": 1, "book": "b1"}\n{"user"\n[1]\n')],
            "j.jsonl: line 2: it must be a JSON object; 2 malformed lines in all",
        ),
        (["--interactions", log, "--category", "Tag Name=tags"], "field 'Tag Name' must consist of letters"),
        (["--interactions", log, "--category", "tagz"], "no column 'tagz'; did you mean 'tags'?"),
        (["--interactions", log, "--num_negatives", 40], "`num_negatives` must be at most"),
    ]:  # fmt: skip
        assert message in said(*extra), (message, extra)
    assert not list(tmp_path.glob("store*"))


def test_goodreads(tmp_path: Path) -> None:
    source = shared("goodreads")
    store = made(
        main, tmp_path / "store", "--items", source / "books.tsv", "--item_id", "bid", "--text", "title",
        "--histories", source / "histories.tsv", "--user", "uid", "--history", "history",
    )  # fmt: skip
    assert (len(store.items), len(store.users)) == (16833, 11545)
    assert len(store.interactions("test")) == 11304


def test_users_divided_have_one_example_each(tmp_path: Path) -> None:
    """The last item of a user's first row is the click; no other user sees the split of this one."""
    items = write(tmp_path, "items.tsv", ITEMS)
    books = [[f"b{(user + place) % 30}" for place in range(2 + user % 5)] for user in range(40)]
    users = [f"u{user}" for user in range(40)]
    rows = {"user": [*users, "u3"], "seen": [" ".join(each) for each in books] + ["b9 b8 b7 b6 b5 b4"]}
    source = ["--items", items, *FIELDS, "--histories", write(tmp_path, "log.tsv", rows), "--history", "seen"]
    source += ["--split", "users", "--shares", "0.5,0.25,0.25", "--history_lengths", "2,4"]
    store = made(main, tmp_path / "store", *source, "--num_negatives", 4)
    reason = "further histories of a user (the first is kept)"
    assert store.manifest["dropped"]["rows"][reason] == 1
    assert store.manifest["made_with"]["history_lengths"] == [2, 4]
    seen: list[int] = []
    for split, size in (("train", 1), ("dev", 5), ("test", 5)):
        table = store.interactions(split)
        for row, user in enumerate(table.user.tolist()):
            *before, click = books[user]
            assert history(store, split, row) == before and 2 <= len(before) <= 4
            shown = candidates(store, split, row)
            assert len(shown) == size and [item for item, label in shown.items() if label] == [click]
        seen += table.user.tolist()
    assert sorted(seen) == [user for user in range(40) if 2 <= 1 + user % 5 <= 4]
    few = made(main, tmp_path / "few", *source, "--num_users", 8)
    assert [len(few.interactions(split)) for split in few.splits] == [4, 2, 2]
