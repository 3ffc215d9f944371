"""RecBench's sets: names of columns, users of dev, rows or users as impressions, bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from legorec.data.raw.holdout import SPLITS
from legorec.data.store import Store
from process.recbench import main
from tests.support.raw_files import candidates, history, made, refusal
from tests.support.runs import ROOT, SMALL, finish
from tests.support.small_store import files

NUM_ITEMS, NUM_USERS = 30, 40
NAMES = {"mind": ("nid", "uid"), "hm": ("article_id", "customer_id"), "yelp": ("business_id", "user_id")}


def raw(folder: Path, kind: str = "mind", valid: bool = True) -> Path:
    """A set as RecBench leaves it: pandas' row numbers, users that come again, text or numbers as ids."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    (item, user), number = NAMES[kind], kind == "hm"
    items = [108_775_015 + n if number else f"N{n}" for n in range(NUM_ITEMS)]
    users = [n if number else f"U{n}" for n in range(NUM_USERS)]
    pl.DataFrame(
        {
            item: items,
            "title": [None if n == 3 else f"Title {n}" for n in range(NUM_ITEMS)],
            "price": [float(n) for n in range(NUM_ITEMS)],
            "tags": [["a", "b"][: n % 3] for n in range(NUM_ITEMS)],
        }
    ).write_parquet(folder / "items.parquet")
    clicks = [rng.choice(items, int(rng.integers(1, 9))).tolist() for _ in users]
    table = pl.DataFrame({user: users, "history": clicks, "__index_level_0__": list(range(NUM_USERS))})
    pl.concat([table, table.head(2)]).write_parquet(folder / "users.parquet")
    for name, chosen in (("test", users[:10]), ("finetune", users[10:])):
        rows = [
            {user: each, item: items[int(rng.integers(NUM_ITEMS))], "click": label, "__index_level_0__": 7}
            for each in chosen
            for label in [0, 1, *rng.integers(0, 2, int(rng.integers(0, 5)))]
        ]
        pl.DataFrame(rows).sample(fraction=1, shuffle=True, seed=1).write_parquet(folder / f"{name}.parquet")
    if valid:
        (folder / "valid_user_set_0.1.txt").write_text("".join(f"{each}\n" for each in users[-6:]))
    return folder


def rows_of(folder: Path, kind: str, name: str) -> list[tuple[str, str, int]]:
    """User, item and label of every row of a file."""
    frame = pl.read_parquet(folder / f"{name}.parquet").select(*NAMES[kind][::-1], "click")
    return [(str(user), str(item), int(label)) for user, item, label in frame.iter_rows()]


def found(store: Store, split: str) -> list[tuple[str, str, int]]:
    """User, item and label of every candidate of a split."""
    table = store.interactions(split)
    owner = store.users.ids.take(table.user[table.candidates.rows])
    items = store.items.ids.take(table.candidates.values)
    return list(zip(owner, items, table.labels.tolist(), strict=True))


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("group", ["user", "row"])
def test_every_row_once_with_the_history_of_its_user(tmp_path: Path, kind: str, group: str) -> None:
    source = raw(tmp_path / kind, kind)
    store = made(main, tmp_path / "store", "--source", source, "--group", group)
    named = set((source / "valid_user_set_0.1.txt").read_text().split())
    tuned, test = rows_of(source, kind, "finetune"), rows_of(source, kind, "test")
    parts = {
        "train": [row for row in tuned if row[0] not in named],
        "dev": [row for row in tuned if row[0] in named],
        "test": test,
    }
    known = {
        str(row[0]): [str(each) for each in row[1]]
        for row in pl.read_parquet(source / "users.parquet").iter_rows()
    }
    assert store.splits == SPLITS and len(store.users) == NUM_USERS
    for split, rows in parts.items():
        order = {user: place for place, user in enumerate(dict.fromkeys(row[0] for row in rows))}
        assert found(store, split) == (
            sorted(rows, key=lambda row: order[row[0]]) if group == "user" else rows
        )
        table = store.interactions(split)
        assert len(table) == (len(order) if group == "user" else len(rows))
        users = store.users.ids.take(table.user)
        assert [history(store, split, row) for row in range(len(table))] == [known[user] for user in users]
    owners = [{row[0] for row in rows} for rows in parts.values()]
    assert not owners[0] & owners[1] and not (owners[0] | owners[1]) & owners[2]
    assert not store.manifest["dropped"]["rows"] and "dev_share" not in store.manifest["made_with"]


def test_users_of_dev_are_drawn_where_no_file_names_them(tmp_path: Path) -> None:
    source = raw(tmp_path / "mind", valid=False)
    store = made(main, tmp_path / "store", "--source", source, "--dev_share", 0.2)
    assert len(store.interactions("dev")) == 6 and store.manifest["made_with"]["dev_share"] == 0.2
    assert not {row[0] for row in found(store, "train")} & {row[0] for row in found(store, "dev")}
    again = made(main, tmp_path / "again", "--source", source, "--dev_share", 0.2)
    assert again.digest == store.digest and files(tmp_path / "store") == files(tmp_path / "again")
    other = made(main, tmp_path / "other", "--source", source, "--dev_share", 0.2, "--seed", 1)
    assert {row[0] for row in found(other, "dev")} != {row[0] for row in found(store, "dev")}
    (tmp_path / "mine.txt").write_text("U20\nU99\n")
    mine = made(main, tmp_path / "mine", "--source", source, "--dev_users", tmp_path / "mine.txt")
    assert {row[0] for row in found(mine, "dev")} == {"U20"}


def test_fields(tmp_path: Path) -> None:
    fields = ("--text", "name=title", "--number", "price", "--categories", "tags")
    store = made(main, tmp_path / "store", "--source", raw(tmp_path / "hm", "hm"), *fields)
    assert store.items.text("name")[1] == "Title 1" and store.vocabulary("tags") == ["a", "b"]
    assert store.items.text("name")[3] == "" and store.items.field("price").rows[4].tolist() == [4.0]


def test_ids_that_are_unknown_or_come_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = raw(tmp_path / "mind")
    users = pl.read_parquet(source / "users.parquet").drop("__index_level_0__")
    changed = pl.DataFrame({"uid": ["U0"], "history": [["N1", "N77", "N2"]]})
    pl.concat([users.filter(pl.col("uid") != "U1"), changed]).write_parquet(source / "users.parquet")
    arguments = ["--source", source, "--out", tmp_path / "store"]
    said = refusal(main, arguments, capsys)
    assert "user ids (test) are in no table" in said and "'U1'" in said and "--max_missing" in said
    store = made(main, tmp_path / "store", "--source", source, "--max_missing", 0.5)
    assert set(store.users.ids.take(store.interactions("test").user)) == {f"U{n}" for n in range(10)} - {"U1"}
    row = list(store.users.ids.take(store.interactions("test").user)).index("U0")
    assert history(store, "test", row) == ["N1", "N2"] and candidates(store, "test", row)
    assert store.manifest["dropped"]["rows"] == {
        "rows of users.parquet whose id came again with other content (the last is kept)": 1
    }
    assert store.manifest["dropped"]["ids"]["users"]["item ids in histories"]["missing"] == 1
    extra = pl.DataFrame({"uid": ["A", "B"], "history": [["N1"], []]})
    pl.concat([users, extra]).write_parquet(source / "users.parquet")
    store = made(main, tmp_path / "more", "--source", source)
    assert store.manifest["dropped"]["rows"] == {"histories of users without an impression": 1}


def test_bad_files_and_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = raw(tmp_path / "mind")

    def said(*extra: Any) -> str:
        return refusal(main, ["--source", source, "--out", tmp_path / "store", *extra], capsys)

    cases: list[tuple[list[Any], str]] = [
        (["--item", "nids"], "no column 'nids'; did you mean 'nid'?"),
        (["--user", "nid"], "users.parquet: there is no column 'nid'"),
        (["--label", "clicks"], "finetune.parquet: there is no column 'clicks'; did you mean 'click'?"),
        (["--user", "uid", "--label", "uid"], "column 'uid' must hold numbers"),
        (["--user", "uid", "--history", "uid"], "'uid' must hold lists, it holds single values"),
        (["--text", "titel"], "items.parquet: there is no column 'titel'; did you mean 'title'?"),
        (["--categories", "title"], "'title' must hold lists, it holds single values"),
        (["--dev_users", tmp_path / "no.txt"], "no.txt: there is no such file"),
        (["--dev_share", 1], "`dev_share` must lie between 0 and 1, got 1; see --dev_share"),
    ]
    for extra, message in cases:
        assert message in said(*extra), message
    (source / "valid_user_set_0.1.txt").write_text("nobody\n")
    assert "none of them is there, e.g. 'nobody', and the table has 'U10'; name another" in said()
    (source / "valid_user_set_0.2.txt").write_text("")
    assert "one set of dev users, got valid_user_set_0.1.txt, valid_user_set_0.2.txt; name one" in said()
    (source / "valid_user_set_0.2.txt").unlink()
    (source / "valid_user_set_0.1.txt").write_text("".join(f"U{n}\n" for n in range(NUM_USERS)))
    assert "'train' would be empty; see --dev_users" in said()
    (source / "valid_user_set_0.1.txt").unlink()
    rows = pl.read_parquet(source / "finetune.parquet")
    rows.with_columns(click=pl.lit(3)).write_parquet(source / "finetune.parquet")
    assert "column 'click' must hold 0 and 1" in said() and "e.g. 3" in said()
    rows.rename({"nid": "news"}).write_parquet(source / "finetune.parquet")
    assert (
        "must share one column, the item id, they share: none; name it with --item. There are: nid," in said()
    )
    rows.with_columns(title=pl.lit("")).write_parquet(source / "finetune.parquet")
    assert "they share: nid, title; name it with --item" in said()
    (source / "users.parquet").write_bytes(b"no")
    assert "users.parquet: not a readable Parquet file" in said("--item", "nid")
    assert "items.parquet: there is no such file" in said("--source", tmp_path)
    assert not list(tmp_path.glob("store*"))


def test_rows_are_trained_on_and_measured_by_user(tmp_path: Path) -> None:
    made(main, tmp_path / "store", "--source", raw(tmp_path / "mind"), "--group", "row")
    layers = {"data": "data/recbench", "model": "model/lego_nrms", "exp": "exp/tt-nrms"}
    given: dict[str, Any] = {name: f"{ROOT}/config/{file}.yaml" for name, file in layers.items()}
    given |= {**SMALL, "epoch": 1, "device": "cpu", "runs": tmp_path / "runs"}
    given |= {"data.store": tmp_path / "store", "data.group_by": "user"}
    folder = finish([part for name, value in given.items() for part in (f"--{name}", str(value))])
    assert json.loads((folder / "metrics.json").read_text())["test"]["groups"] == 10, "users of the test"
