"""Depots of UniTok to a store: tokens, histories and impressions are those of the depots."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from legorec.data.item_text import tokenization_of
from legorec.data.store import Store
from legorec.data.text import encode, load_tokenizer
from legorec.data.vectors import Rows
from process.unitok import main
from tests.support.raw_files import refusal
from tests.support.unitok_depots import (
    DEV,
    ITEMS,
    TRAIN,
    USERS,
    WORDS,
    assert_same,
    depots,
    imported,
    impressions,
    version_4,
)


@pytest.mark.parametrize("version", [3, 4])
def test_depots_to_a_store(tmp_path: Path, version: int, capsys: pytest.CaptureFixture[str]) -> None:
    store = imported(tmp_path / "store", *depots(tmp_path, version))
    assert list(store.items.ids) == WORDS["nid"] and store.items.field_names == ("cat", "title@bert")
    assert [row.tolist() for row in store.items.field("title@bert").rows] == ITEMS["title"][1]
    assert store.items.field("title@bert").vocab_size == len(WORDS["bert"])
    assert list(store.items.text("title")) == ["play ##ing chess", "", "[#5] [#6] [#7]", "chess"]
    assert store.vocabulary("cat") == ["news", "sport"]
    assert [row.tolist() for row in store.items.field("cat").rows] == [[1], [], [0], [1]]
    assert [row.tolist() for row in store.users.field("topic").rows] == [[1], [0], [1]]
    assert impressions(store, "train") == [  # a label is what its vocabulary says, here 1 is id 0
        ("u", ["n1", "n2"], {"n3": 1, "n4": 0}),
        ("v", [], {"n4": 0, "n1": 1}),
        ("u", ["n1", "n2"], {"n2": 0}),
        ("w", ["n4", "n4", "n3"], {"n2": 1}),
    ]
    assert list(store.interactions("train").ids or []) == ["i7", "i9", "i8", "i7"]
    assert impressions(store, "dev") == [("u", ["n1", "n2"], {"n4": 0})], "the one history of the user"
    assert not store.interactions("dev").labelled and store.interactions("dev").ids is None
    assert store.manifest["made_with"]["unitok"] == version
    assert "3 ids in 'neg' of the users, which belong to no impression" in capsys.readouterr().out


def test_the_stored_tokenizer_gives_the_stored_tokens(tmp_path: Path) -> None:
    store = imported(tmp_path / "store", *depots(tmp_path))
    tokenizer = store.tokenizer("bert")
    assert encode(tokenizer, list(store.items.text("title"))) == store.items.field("title@bert").rows
    assert encode(tokenizer, ["chess unheard"])[0].tolist() == [4, 1]


def test_columns_by_name(tmp_path: Path) -> None:
    items = {
        "bid": ITEMS["nid"],
        "cat": ITEMS["cat"],
        "title": ITEMS["title"],
        "year": ("index", [5, 6, 7, 8]),
    }
    users = {"who": USERS["uid"], "clicks": USERS["history"], "topic": USERS["topic"]}
    train = {
        "row": TRAIN["index"],
        "by": TRAIN["uid"],
        "at": TRAIN["imp"],
        "what": TRAIN["nid"],
        "y": TRAIN["click"],
    }
    store = imported(
        tmp_path / "store", *depots(tmp_path, items=items, users=users, train=train)[:6], "--item", "what",
        "--user", "by", "--group", "at", "--label", "y", "--history", "clicks", "--text", "name=title",
        "--categories", "kinds=cat", "--number", "year", "--user_category", "likes=topic",
    )  # fmt: skip
    assert store.items.field_names == ("kinds", "year", "name@bert") and store.users.field_names == ("likes",)
    assert store.items.field("year").rows.values.tolist() == [5, 6, 7, 8]
    plain = imported(tmp_path / "plain", *depots(tmp_path / "two")[:6])
    assert impressions(store, "train") == impressions(plain, "train")


def test_a_group_is_the_user_where_there_is_none(tmp_path: Path) -> None:
    train = {name: column for name, column in TRAIN.items() if name != "imp"}
    store = imported(tmp_path / "store", *depots(tmp_path, train=train))
    assert [(user, shown) for user, _, shown in impressions(store, "train")] == [
        ("u", {"n3": 1, "n4": 0, "n2": 0}), ("v", {"n4": 0, "n1": 1}), ("w", {"n2": 1}),
    ]  # fmt: skip
    assert store.interactions("train").ids is None


def test_several_tokenizations_and_a_category_in_words(tmp_path: Path) -> None:
    """The names that Legommenders gives."""
    items = {
        "nid": ITEMS["nid"],
        "title@bert": ITEMS["title"],
        "title@glove": ("topic", [[0], [1, 0], [], [1]]),
        "cat@bert": ("bert", [[2], [], [4], [2]]),
        "cat": ITEMS["cat"],
        "tags": ("topic", [[0], [1, 0], [], [1]]),
    }
    folder = version_4(tmp_path / "own", items, WORDS, {"tags": "entities"})
    store = imported(tmp_path / "store", *depots(tmp_path, 4)[2:], "--items", folder)
    assert set(store.items.field_names) == {"title@bert", "title@topic", "cat_text@bert", "cat", "tags"}
    assert [row.tolist() for row in store.items.field("title@topic").rows] == [[0], [1, 0], [], [1]]
    assert store.items.field("tags").kind == "categories" and store.items.field("tags").vocabulary == "topic"


def real_tokenizer(folder: Path, vocabulary: list[str]) -> Path:
    model = models.WordPiece({word: place for place, word in enumerate(vocabulary)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_the_real_tokenizer_stands_in_for_its_vocabulary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WORDS, "bert", ["[PAD]", "[UNK]", "play", "##ing", "chess", "[SEP]", "a", "b"])
    folder = real_tokenizer(tmp_path / "bert", WORDS["bert"])
    store = imported(tmp_path / "store", *depots(tmp_path), "--tokenizer", f"bert={folder}")
    assert [row.tolist() for row in store.items.field("title@bert").rows] == ITEMS["title"][1]
    assert list(store.items.text("title")) == ["playing chess", "", "[SEP] a b", "chess"]
    assert tokenization_of(store, load_tokenizer(folder), "a checkpoint") == "bert"
    plain = imported(tmp_path / "plain", *depots(tmp_path))
    assert Rows.of_tokens(plain.tokenizer("bert")) == Rows.of_tokens(load_tokenizer(folder)), "its table fits"
    other = real_tokenizer(tmp_path / "other", [*WORDS["bert"][:4], "go", *WORDS["bert"][5:]])
    command = ["import", *depots(tmp_path), "--out", tmp_path / "x", "--tokenizer"]
    assert "other tokens than" in (said := refusal(main, [*command, f"bert={other}"], capsys))
    assert "4 is 'chess', there 'go'" in said
    assert "NAME=FOLDER with a vocabulary of texts (bert), got 'words'" in refusal(
        main, [*command, "words"], capsys
    )


@pytest.mark.parametrize("rows", ["lists of one length", "arrays", "nothing"])
def test_the_arrays_of_version_3(tmp_path: Path, rows: str) -> None:
    lists: list[Any] = {
        "lists of one length": [[0, 1], [2, 3], [1, 1]],
        "arrays": [np.array([0, 1]), np.array([], dtype=np.int64), np.array([3])],
        "nothing": [[], [], []],
    }[rows]
    users = {"uid": USERS["uid"], "history": ("nid", lists)}
    store = imported(tmp_path / "store", *depots(tmp_path, users=users))
    expected = [[f"n{each + 1}" for each in row] for row in lists]
    assert [before for _, before, _ in impressions(store, "train")] == [
        expected[each] for each in (0, 1, 0, 2)
    ]


def test_older_meta_files(tmp_path: Path) -> None:
    source = depots(tmp_path)
    file = tmp_path / "users" / "meta.data.json"
    meta = json.loads(file.read_text())
    old = {"version": "v2.4", "id_col": meta["id_col"], "vocab_info": meta["vocs"]}
    old["col_info"] = {
        name: {**each, "vocab": each["voc"]} | {"voc": None} for name, each in meta["cols"].items()
    }
    file.write_text(json.dumps(old))
    fresh = imported(tmp_path / "store", *source)
    assert_same(fresh, imported(tmp_path / "new", *depots(tmp_path / "two")))
    four = depots(tmp_path / "four", 4)
    file = tmp_path / "four" / "users" / "meta.json"
    meta = json.loads(file.read_text())
    meta["jobs"] = meta.pop("features")
    file.write_text(json.dumps(meta))
    assert_same(fresh, imported(tmp_path / "jobs", *four))


def test_unknown_ids_are_dropped_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = {name: (vocabulary, values[:3]) for name, (vocabulary, values) in ITEMS.items()}
    users = {name: (vocabulary, values[:2]) for name, (vocabulary, values) in USERS.items()}
    source = ["import", *depots(tmp_path, items=items, users=users), "--out", tmp_path / "store"]
    said = refusal(main, source, capsys)
    assert "1 of 4 user ids (train) are in no table (25.0%), e.g. 'w (no row of the users)'" in said
    assert "item ids in candidates (train) are in no table" in said and "(--max_missing)" in said
    main([str(part) for part in (*source, "--max_missing", 1)])
    store = Store.open(tmp_path / "store")
    assert [shown for _, _, shown in impressions(store, "train")] == [{"n3": 1}, {"n1": 1}, {"n2": 0}]
    assert store.manifest["dropped"]["ids"]["train"]["user ids"] == {"missing": 1, "of": 4}


class Runs:
    """Pickles as a command."""

    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


def changed(folder: Path, table: str, change: Any, version: int = 3) -> list[Any]:
    """Depots of which one has another meta file."""
    source = depots(folder, version)
    file = folder / table / ("meta.data.json" if version == 3 else "meta.json")
    meta = json.loads(file.read_text())
    change(meta)
    file.write_text(json.dumps(meta))
    return source


def test_r11_a_depot_that_would_run_something(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["import", *depots(tmp_path, 4), "--out", tmp_path / "store"]
    for name in ("data.pkl", "bert.vocab"):
        depots(tmp_path, 4)
        (tmp_path / "items" / name).write_bytes(pickle.dumps({"nid": [Runs()]}))
        assert f"{name}: a depot's pickle must hold containers" in (said := refusal(main, command, capsys))
        assert "got the name 'posix.system'" in said
    command = ["import", *depots(tmp_path / "3"), "--out", tmp_path / "store"]
    np.save(tmp_path / "3" / "users" / "data.npy", {"uid": [Runs()]}, allow_pickle=True)  # type: ignore[arg-type]
    assert "data.npy: a depot's pickle must hold" in refusal(main, command, capsys)
    assert not (tmp_path / "ran").exists() and not list(tmp_path.glob("store*"))


def test_bad_depots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*source: Any) -> str:
        return refusal(main, ["import", *source, "--out", tmp_path / "store"], capsys)

    def column(table: str, name: str, values: Any, vocabulary: str = "nid") -> str:
        whole = {"items": ITEMS, "users": USERS, "train": TRAIN, "dev": DEV}[table]
        return said(*depots(tmp_path, **{table: {**whole, name: (vocabulary, values)}}))

    def meta(table: str, change: Any, version: int = 3) -> str:
        return said(*changed(tmp_path / f"v{version}", table, change, version))

    assert "there is no UniTok depot here: no meta.json" in said(*depots(tmp_path), "--items", tmp_path)
    assert "must be of UniTok 3 or 4, got the version '9'" in meta("items", lambda m: m.update(version="9"))
    assert "not the meta file of a depot (KeyError: 'version')" in meta("items", lambda m: m.pop("version"))
    assert "not the meta file of a depot" in meta("items", lambda m: m.update(cols=[1]))
    assert "one column must be the key" in meta("items", lambda m: m.update(id_col="id"))
    two = meta("items", lambda m: [each.update(key=True) for each in m["features"]], 4)
    assert "one column must be the key" in two
    assert "lack the column 'x'; There are: nid" in meta(
        "items", lambda m: m["cols"].update(x={"voc": "nid"})
    )
    padded = meta("users", lambda m: m["cols"]["history"].update(padding=True))
    assert "'history' is padded, and padding looks like the token 0; write the depot again" in padded
    assert "'bert' must have 7 tokens, as the meta file says, got 8" in meta(
        "items", lambda m: m["vocs"]["bert"].update(size=7)
    )
    assert "must consist of letters" in meta("items", lambda m: m["cols"]["cat"].update(voc="../x"))
    assert "tok.uid.dat: not a readable vocabulary" in meta(
        "items", lambda m: m["cols"]["cat"].update(voc="uid")
    )
    assert "'click' has 1, 'index' has 6" in column("train", "click", [0], "click")
    assert (
        "the ids of 'nid' must be below 4, the size of the vocabulary 'nid', and not negative; got 4"
        in column("train", "nid", [0, 1, 2, 3, 4, 0])
    )
    assert "and not negative; got -1" in column("users", "history", [[0], [-1], []])
    assert "'history' must hold only lists of ids" in column("users", "history", [[0], [0.5], []])
    assert "'cat' must hold only ids" in column("items", "cat", [0, None, 1, 2], "cat")
    assert "the labels in 'click' must be 0 and 1; --label names another" in column(
        "train", "click", [0, 1, 0, 1, 0, 1], "cat"
    )
    assert "'history' must hold lists, the items clicked; --history names it" in column(
        "users", "history", [0, 1, 2]
    )
    assert "every user must have one row, 'u' has several" in column("users", "uid", [0, 0, 1], "uid")
    assert "every id must occur once" in column("items", "nid", [0, 0, 1, 2])
    assert "'imp' must hold one value for each row, it holds lists" in column(
        "train", "imp", [[0]] * 6, "imp"
    )
    assert not list(tmp_path.glob("store*"))


def test_bad_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = depots(tmp_path)

    def said(*extra: Any, of: Any = source) -> str:
        return refusal(main, ["import", *of, "--out", tmp_path / "store", *extra], capsys)

    assert "give at least one of --train, --dev and --test" in said(of=source[:4])
    assert "there is no column 'titel'; did you mean 'title'?" in said("--text", "titel")
    assert "'title' must hold single values to be a category, it holds lists" in said("--category", "title")
    assert "the column 'cat' must become one field, it is named twice" in said(
        "--text", "cat", "--number", "x=cat"
    )
    assert "field 'a b' must consist of letters" in said("--text", "a b=title")
    assert "'more' would be another title@bert; give it a name of its own, --text NAME=more" in said(
        "--text", "title=more",
        of=depots(tmp_path / "two", items={**ITEMS, "more": ITEMS["title"]}),
    )  # fmt: skip
    for flag in ("--item", "--user", "--label", "--group", "--history", "--person", "--neg"):
        assert "there is no column 'none'" in said(flag, "none")
    assert "unknown argument --txt; did you mean --text?" in said("--txt", "title")
    assert "invalid choice: 'imports'" in refusal(main, ["imports"], capsys)
    assert not list(tmp_path.glob("store*"))
