"""A table of users is taken by every processor of known data sets, and added to a store that is there."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from legorec.data.store import Store
from legorec.data.writing.writer import StoreWriter
from process.add_users import main
from tests.process import test_recbench
from tests.support import planted_files as raw
from tests.support.raw_files import made, refusal
from tests.support.small_store import files, write

COMMANDS: dict[str, tuple[Any, Any, list[str]]] = {
    "mind": (raw.write_mind, None, ["--train", "MINDsmall_train", "--dev", "MINDsmall_dev"]),
    "goodreads": (
        raw.write_goodreads,
        None,
        [
            "--books", "goodreads_books_poetry.json.gz",
            "--interactions", "goodreads_interactions_poetry.json.gz",
        ],
    ),
    "amazon": (
        raw.write_reviews,
        2018,
        ["--reviews", "All_Beauty.jsonl.gz", "--meta", "meta_All_Beauty.jsonl.gz"],
    ),
    "ebnerd": (raw.write_ebnerd, None, ["--source", "ebnerd_small"]),
    "recbench": (raw.write_recbench, None, ["--source", "recbench/mind"]),
}  # fmt: skip
FIELDS = [
    "--user_id",
    "who",
    "--user_category",
    "area=region",
    "--user_categories",
    "likes",
    "--user_number",
    "age",
]


def given(users: list[str]) -> dict[str, dict[str, Any]]:
    return {
        user: {"who": user, "region": f"r{place % 3}", "likes": ["x", "y"][: place % 3], "age": place}
        for place, user in enumerate(users)
    }


def write_users(path: Path, users: list[str]) -> Path:
    rows = [*given(users).values(), {"who": "nobody", "region": "r9", "likes": ["z"], "age": 1}]
    path.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    return path


QUICK = "mind"


@pytest.mark.parametrize(
    "processor", [pytest.param(name, marks=[] if name == QUICK else pytest.mark.slow) for name in COMMANDS]
)
def test_every_processor_takes_users_as_add_users_does(
    processor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_raw, layout, arguments = COMMANDS[processor]
    write_raw(layout)
    process = importlib.import_module(f"process.{processor}").main
    process([*arguments, "--out", "later"])
    ids = list(Store.open("later").users.ids)
    users = ["--users", str(write_users(tmp_path / "users.jsonl", ids)), *FIELDS]
    main(["--store", "later", *users])
    said = capsys.readouterr().out
    assert f"user field age: {len(ids):,} of {len(ids):,} users have one" in said
    assert "dropped: 1 rows of users.jsonl of users who are not here" in said
    process([*arguments, "--out", "start", *users])
    later, start = files(Path("later")), files(Path("start"))
    assert {name for name in start if start[name] != later.get(name)} <= {"manifest.json"}
    store = Store.open("start")
    names = {name: store.vocabulary(name) for name in ("area", "likes")}
    fields = {name: store.users.field(name).rows for name in ("area", "likes", "age")}
    for row, (user, said_of) in enumerate(given(ids).items()):
        assert [names["area"][each] for each in fields["area"][row]] == [said_of["region"]], user
        assert [names["likes"][each] for each in fields["likes"][row]] == said_of["likes"]
        assert fields["age"][row].tolist() == [said_of["age"]]


def test_recbench_reads_its_own_users(tmp_path: Path) -> None:
    source = test_recbench.raw(tmp_path / "raw")
    users = pl.read_parquet(source / "users.parquet").unique("uid", maintain_order=True)
    sexes = ["f" if place % 3 else "m" for place in range(len(users))]
    users = users.with_columns(sex=pl.Series(sexes))
    again = users.head(1).with_columns(sex=pl.lit("last"))
    pl.concat([users, again]).write_parquet(source / "users.parquet")
    store = made(test_recbench.main, tmp_path / "store", "--source", source, "--user_category", "sex")
    names = store.vocabulary("sex")
    found = [names[row[0]] for row in store.users.field("sex").rows]
    expected = dict(zip(users["uid"], sexes, strict=True)) | {users["uid"][0]: "last"}
    assert found == [expected[user] for user in store.users.ids]


def test_the_log_of_ebnerd_is_a_table_of_users(tmp_path: Path) -> None:
    """Its users are told of in their impressions, once in each."""
    log = pl.DataFrame({"user_id": [7, 7, 8], "gender": [1, 1, None], "article_ids_inview": [[1], [2], [3]]})
    log.write_parquet(tmp_path / "behaviors.parquet")
    store = write_two_users(tmp_path / "store")
    arguments = [
        "--users",
        tmp_path / "behaviors.parquet",
        "--user_id",
        "user_id",
        "--user_category",
        "gender",
    ]
    main([str(part) for part in ("--store", store, *arguments)])
    users = Store.open(store).users
    assert [row.tolist() for row in users.field("gender").rows] == [[], [0]]
    assert Store.open(store).vocabulary("gender") == ["1"]


def write_two_users(path: Path) -> Path:
    with StoreWriter(path, {}) as writer:
        writer.items(pl.DataFrame({"id": ["a", "b"]}))
        frame = pl.DataFrame({"user": ["8", "7"], "history": [["a"], []], "candidates": [["b"], ["a"]]})
        writer.impressions("test", frame.with_columns(history=pl.col("history").cast(pl.List(pl.String))))
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_several_files_are_one_table_in_any_format(tmp_path: Path, ending: str) -> None:
    paths = []
    for number, (user, likes) in enumerate({"u": "x;y", "v": ""}.items()):
        frame = pl.DataFrame({"user": [user], "likes": [likes], "age": [None if number else 7]})
        paths.append(tmp_path / f"users{number}.{ending}")
        if ending == "parquet":
            frame.write_parquet(paths[-1])
        else:
            frame.write_csv(paths[-1], separator="," if ending == "csv" else "\t", quote_style="never")
    store = write(tmp_path / "store").path
    flags = ["--user_categories", "likes", "--user_number", "age", "--user_list_separator", ";"]
    main(["--store", str(store), "--users", *map(str, paths), *flags])
    users = Store.open(store).users
    assert [row.tolist() for row in users.field("likes").rows] == [[0, 1], []]
    assert [row.tolist() for row in users.field("age").rows] == [[7.0], []]


def test_bad_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = write(tmp_path / "store").path
    path = tmp_path / "users.csv"
    path.write_text("user,region\nu,r\nv,r\n")
    region = ["--user_category", "region"]

    def said(*more: Any) -> str:
        return refusal(main, ["--store", store, "--users", path, *more], capsys)

    assert "--users needs the columns that become fields, with --user_category" in said()
    assert "there is no column 'regions'; did you mean 'region'?" in said("--user_category", "regions")
    assert "there is no column 'id'" in said(*region, "--user_id", "id")
    assert "`max_missing` must lie between 0 and 1, got 2" in said(
        "--user_category", "region", "--max_missing", 2
    )
    assert "field 'a/b' must consist of letters" in said("--user_category", "a/b=region")
    assert "there is no such file" in refusal(
        main, ["--store", store, "--users", "x.csv", "--user_number", "a"], capsys
    )
    mind = importlib.import_module("process.mind").main
    arguments = [
        "--train",
        tmp_path,
        "--split",
        "time",
        "--out",
        tmp_path / "out",
        "--user_category",
        "region",
    ]
    assert "--user_category is a column of --users FILE, which is not given" in refusal(
        mind, arguments, capsys
    )


def test_lists_of_objects_are_refused_and_lists_as_json_are_lists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, path = write_two_users(tmp_path / "store"), tmp_path / "users.jsonl"
    rows = [{"user": user, "topics": [{"name": "x"}]} for user in Store.open(store).users.ids]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = ["--store", store, "--users", path, "--user_categories", "topics"]
    assert "users.jsonl: column 'topics' must hold lists of texts or numbers" in refusal(main, argv, capsys)
    rows = [row | {"topics": '["a b", "c"]'} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    main([str(part) for part in argv])
    assert sorted(Store.open(store).vocabulary("topics")) == ["a b", "c"]
