"""A store whose users get fields is the one that had them from the start, or stays as it was."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from legorec.data.store import Store, StoreError
from legorec.data.user_fields import add_user_fields
from legorec.data.writing.columns import Column
from legorec.data.writing.user_table import UserTable
from legorec.data.writing.writer import StoreWriter
from tests.support.small_store import COLUMNS, DEV, ITEMS, TRAIN, WORDS, files, write

FIELDS = [Column("region", "category"), Column("topics", "categories"), Column("age", "number")]
USERS = pl.DataFrame(
    {
        "user": ["v", "z", "u"],
        "region": ["north", "south", None],
        "topics": [["a"], ["c"], ["b", "a"]],
        "age": [20.5, 1.0, None],
    }
)


def table(columns=FIELDS, users: pl.DataFrame = USERS) -> UserTable:
    return UserTable.of(users, columns, "user", "users.csv")


def test_fields_added_later_equal_those_from_the_start(tmp_path: Path) -> None:
    kept = files(write(tmp_path / "later").path)
    add_user_fields(tmp_path / "later", table())
    with StoreWriter(tmp_path / "start", {"processor": "small"}, [WORDS], user_table=table()) as writer:
        writer.items(ITEMS, COLUMNS)
        writer.impressions("train", TRAIN)
        writer.impressions("dev", DEV)
    later, start = (Store.open(tmp_path / name, verify="full") for name in ("later", "start"))
    assert later.manifest["users"] == start.manifest["users"]
    assert later.manifest["dropped"] == start.manifest["dropped"]
    assert later.manifest["dropped"]["rows"] == {"rows of users.csv of users who are not here": 1}
    assert list(later.users.ids) == ["u", "v"]
    for name in ("region", "topics", "age"):
        assert later.users.field(name).rows == start.users.field(name).rows
    assert later.vocabulary("region") == start.vocabulary("region") == ["north"]
    assert [list(row) for row in later.users.field("region").rows] == [[], [0]]
    assert [row.tolist() for row in later.users.field("topics").rows] == [[1, 0], [0]]
    after = files(tmp_path / "later")
    changed = {name for name in after if after[name] != kept.get(name)}
    assert changed == {
        "manifest.json",
        *(f"users/{name}.safetensors" for name in ("region", "topics", "age")),
        *(f"vocabularies/{name}.json" for name in ("region", "topics")),
    }


def test_what_cannot_be_added_leaves_the_store(tmp_path: Path) -> None:
    path = write(tmp_path / "store").path
    add_user_fields(path, table([FIELDS[0]]))
    before = files(path)
    with pytest.raises(StoreError, match="the field 'region' of users is there already; name it NAME=COLUMN"):
        add_user_fields(path, table())
    with pytest.raises(StoreError, match="the field 'Age' of users is there already"):
        add_user_fields(path, table([Column("age", "number"), Column("Age", "number", "age")]))
    with pytest.raises(StoreError, match="items and users have different vocabularies 'category'"):
        add_user_fields(path, table([FIELDS[1], Column("category", "category", "region")]))
    with pytest.raises(StoreError, match="a vocabulary is called as 'Category' but for capitals"):
        add_user_fields(path, table([Column("Category", "category", "region")]))
    with pytest.raises(StoreError, match="column 'region' must hold numbers"):
        add_user_fields(path, table([Column("much", "number", "region")]))
    with pytest.raises(StoreError, match=r"1 of 2 users have no row in it \(50.0%\), e.g. 'u'"):
        add_user_fields(path, table([FIELDS[1]], USERS.head(2)))
    assert files(path) == before
    add_user_fields(path, table([FIELDS[1]], USERS.head(2)), max_missing=0.5)
    assert Store.open(path, verify="full").users.field_names == ("region", "topics")


def test_a_vocabulary_that_is_the_same_is_shared(tmp_path: Path) -> None:
    path = write(tmp_path / "store").path
    users = pl.DataFrame({"user": ["u", "v"], "genres": [["q", "r"], ["q"]]})
    add_user_fields(path, table([Column("genres", "categories")], users))
    store = Store.open(path, verify="full")
    assert store.users.field("genres").vocabulary == "genres" and store.vocabulary("genres") == ["q", "r"]
    assert [part["name"] for part in store.manifest["vocabularies"]].count("genres") == 1


def test_an_interrupted_addition_leaves_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "store").path
    before = files(path)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("legorec.files.whole.os.replace", fail)
        with pytest.raises(OSError, match="disk full"):
            add_user_fields(tmp_path / "store", table())
    assert {
        name: data for name, data in files(tmp_path / "store").items() if not name.startswith(".")
    } == before
