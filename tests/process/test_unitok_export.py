"""A store to depots of UniTok: UniTok reads them, they come back the same; and depots that UniTok wrote."""

from __future__ import annotations

import json
import random
from pathlib import Path

import polars as pl
import pytest

from legorec.data.safe_pickle import load_pickle
from legorec.data.store import Store
from legorec.data.text import TokenizerChoice, encode
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter
from process.unitok import main
from tests.support.raw_files import history, refusal
from tests.support.runs import arguments, finish, write_store
from tests.support.small_store import ITEMS, TRAIN
from tests.support.small_store import write as write_small
from tests.support.unitok_depots import assert_same, imported, impressions


def test_export_keeps_a_store(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", labelled=False)
    main(["export", "--store", str(store), "--out", str(tmp_path / "depots")])
    names = ("items", "users", "train", "test")
    assert sorted(path.name for path in (tmp_path / "depots").iterdir()) == sorted([*names, "valid"])
    source = [part for name in names for part in (f"--{name}", tmp_path / "depots" / name)]
    again = imported(tmp_path / "again", *source, "--dev", tmp_path / "depots" / "valid")
    assert_same(Store.open(store), again)
    main(["export", "--store", str(tmp_path / "again"), "--out", str(tmp_path / "twice")])
    for name in ("users", "train", "valid"):
        one, two = (load_pickle(tmp_path / place / name / "data.pkl") for place in ("depots", "twice"))
        assert one == two


def test_export_keeps_numbers_and_every_tokenization(tmp_path: Path) -> None:
    store = write_small(tmp_path / "store")
    main(["export", "--store", str(tmp_path / "store"), "--out", str(tmp_path / "d")])
    source = [part for name in ("items", "users", "train") for part in (f"--{name}", tmp_path / "d" / name)]
    again = imported(tmp_path / "again", *source, "--dev", tmp_path / "d" / "valid", "--number", "price")
    assert_same(store, again)
    assert set(again.items.field_names) >= {"title@words", "title@chars", "price"}
    main(
        ["export", "--store", str(tmp_path / "store"), "--out", str(tmp_path / "short"), "--max_history", "1"]
    )
    data = load_pickle(tmp_path / "short" / "users" / "data.pkl")
    whole = load_pickle(tmp_path / "d" / "users" / "data.pkl")
    assert data["history"] == [row[-1:] for row in whole["history"]] != whole["history"]
    assert whole["neg"] != [] and all(set(row) <= set(range(5)) for row in whole["neg"])


def test_unitok_loads_an_export(tmp_path: Path) -> None:
    unitok = pytest.importorskip("unitok")
    store = Store.open(write_store(tmp_path / "store"))
    main(["export", "--store", str(tmp_path / "store"), "--out", str(tmp_path / "depots")])
    items, users, train = (
        unitok.UniTok.load(str(tmp_path / "depots" / name)) for name in ("items", "users", "train")
    )
    assert [row["title@words"] for row in items] == [
        row.tolist() for row in store.items.field("title@words").rows
    ]
    assert (
        items.meta.features["title@words"].tokenizer.vocab.size == store.items.field("title@words").vocab_size
    )
    assert list(items.meta.features["item_id"].tokenizer.vocab) == list(store.items.ids)
    with train:
        train.union(users, soft_union=False)  # as Legommenders does
    rows = [train[place] for place in range(len(train))]
    shown, ids = store.interactions("train"), list(store.items.ids)
    assert [row["click"] for row in rows] == shown.labels.tolist()
    assert [row["item_id"] for row in rows] == shown.candidates.values.tolist()
    for row, place in zip(rows, shown.candidates.rows, strict=True):
        assert [ids[each] for each in row["history"]] == history(store, "train", place)
        assert store.users.ids[row["original_user"]] == store.users.ids[shown.user[place]]
        clicked = [each for each in rows if each["user_id"] == row["user_id"] and each["click"]]
        assert not {each["item_id"] for each in clicked} & set(row["neg"])


def test_tokens_of_1000_rows_are_those_of_unitok(tmp_path: Path) -> None:
    unitok, pandas = pytest.importorskip("unitok"), pytest.importorskip("pandas")
    draw = random.Random(0)
    words = [f"w{place}" for place in range(200)] + ["a\u00a0b", "\u3000", "[UNK]", "##x", "é"]
    titles = [" ".join(draw.choices(words, k=draw.randrange(12))) for _ in range(1000)]
    ids = [f"i{place}" for place in range(1000)]
    tables = {
        "items": pandas.DataFrame({"nid": ids, "title": titles, "cat": draw.choices("abc", k=1000)}),
        "users": pandas.DataFrame({"uid": ["u", "v"], "history": [ids[:3], ids[7:9]]}),
        "train": pandas.DataFrame({"uid": ["v", "u"], "nid": ["i5", "i6"], "click": [1, 0]}),
    }
    with unitok.UniTok() as items:
        nid = unitok.Vocab("nid")
        items.add_feature(unitok.EntityTokenizer(vocab=nid), "nid", "item_id", key=True)
        items.add_feature(unitok.SplitTokenizer(vocab="glove", sep=" "), "title", "title@glove", truncate=10)
        items.add_feature(unitok.EntityTokenizer(vocab="cat"), "cat")
        items.tokenize(tables["items"]).save(str(tmp_path / "items"))
    with unitok.UniTok() as users:
        uid = unitok.Vocab("uid")
        users.add_feature(unitok.EntityTokenizer(vocab=uid), "uid", "user_id", key=True)
        users.add_feature(unitok.EntitiesTokenizer(vocab=nid), "history", truncate=0)
        users.tokenize(tables["users"]).save(str(tmp_path / "users"))
    with unitok.UniTok() as train:
        train.add_index_feature()
        train.add_feature(unitok.EntityTokenizer(vocab=uid), "uid", "user_id")
        train.add_feature(unitok.EntityTokenizer(vocab=nid), "nid", "item_id")
        train.add_feature(unitok.DigitTokenizer(vocab="click", vocab_size=2), "click")
        train.tokenize(tables["train"]).save(str(tmp_path / "train"))
    source = [part for name in tables for part in (f"--{name}", tmp_path / name)]
    store = imported(tmp_path / "store", *source)
    own = [row["title@glove"] for row in items]
    assert [row.tolist() for row in store.items.field("title@glove").rows] == own and "" in titles
    assert (
        encode(store.tokenizer("glove"), list(store.items.text("title")))
        == store.items.field("title@glove").rows
    )
    assert impressions(store, "train") == [("v", ids[7:9], {"i5": 1}), ("u", ids[:3], {"i6": 0})]
    assert store.vocabulary("cat") == ["a", "b", "c"]


def test_what_unitok_3_writes(tmp_path: Path) -> None:
    unitok, pandas = pytest.importorskip("UniTokv3"), pytest.importorskip("pandas")
    nid, uid = unitok.Vocab("nid"), unitok.Vocab("uid")
    frame = pandas.DataFrame({"nid": ["n1", "n2"], "title": ["b a", "c"], "cat": ["x", "y"]})
    made = unitok.UniTok().add_col(unitok.Column(unitok.tok.IdTok(vocab=nid), "nid"))
    made.add_col(unitok.Column(unitok.tok.SplitTok(name="words", sep=" "), "title", max_length=20))
    made.add_col("cat", unitok.tok.EntTok(name="cat")).read(frame).tokenize().store(str(tmp_path / "items"))
    frame = pandas.DataFrame({"uid": ["u", "v"], "history": ["n2 n1", "n2"]})
    made = unitok.UniTok().add_col(unitok.Column(unitok.tok.IdTok(vocab=uid), "uid"))
    made.add_col(
        unitok.Column(unitok.tok.SplitTok(vocab=nid, sep=" "), "history", max_length=1, slice_post=True)
    )
    made.read(frame).tokenize().store(str(tmp_path / "users"))
    frame = pandas.DataFrame({"index": [0, 1], "uid": ["u", "u"], "nid": ["n1", "n2"], "click": [0, 1]})
    made = unitok.UniTok().add_index_col().add_col("uid", unitok.tok.EntTok(vocab=uid))
    made.add_col("nid", unitok.tok.EntTok(vocab=nid)).add_col(
        "click", unitok.tok.NumberTok(name="click", vocab_size=2)
    )
    made.read(frame).tokenize().store(str(tmp_path / "train"))
    source = [part for name in ("items", "users", "train") for part in (f"--{name}", tmp_path / name)]
    store = imported(tmp_path / "store", *source)
    assert list(store.items.text("title")) == ["b a", "c"] and store.items.field_names == (
        "cat",
        "title@words",
    )
    assert impressions(store, "train") == [("u", ["n1"], {"n1": 0, "n2": 1})]


def test_an_imported_store_trains(tmp_path: Path) -> None:
    main(["export", "--store", str(write_store(tmp_path / "store")), "--out", str(tmp_path / "d")])
    source = [
        part for name in ("items", "users", "train", "test") for part in (f"--{name}", tmp_path / "d" / name)
    ]
    imported(tmp_path / "again", *source, "--dev", tmp_path / "d" / "valid")
    metrics = []
    for place, store in enumerate(("store", "again")):
        run = finish(arguments(tmp_path / store, tmp_path / f"runs{place}", epoch=1))
        metrics.append(json.loads((run / "metrics.json").read_text()))
    assert metrics[0] == metrics[1]


def test_bad_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = write_store(tmp_path / "store")
    command = ["export", "--store", store, "--out"]
    assert "store: it exists" in refusal(main, [*command, store], capsys)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    assert "it exists and is not a data store; it is left as it is" in refusal(
        main, [*command, tmp_path / "full"], capsys
    )
    said = refusal(main, [*command, tmp_path / "d", "--max_history", "0"], capsys)
    assert "`max_history` must be at least 1, got 0" in said
    write_with(tmp_path / "key", Column("item_id", "category", "topic"))
    said = refusal(main, ["export", "--store", tmp_path / "key", "--out", tmp_path / "e"], capsys)
    assert "items: the column 'item_id' would be there twice" in said
    write_with(tmp_path / "twice", Column("topic", "category", vocabulary="words"))
    said = refusal(main, ["export", "--store", tmp_path / "twice", "--out", tmp_path / "e"], capsys)
    assert "two vocabularies would have the name 'words'" in said
    assert not list(tmp_path.glob("e*"))


def write_with(path: Path, column: Column) -> None:
    with StoreWriter(path, {}, [TokenizerChoice("words")]) as writer:
        writer.items(ITEMS, [Column("title", "text"), column])
        writer.impressions("train", TRAIN)


def test_users_of_several_histories_keep_their_names(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", {}) as writer:
        writer.items(ITEMS)
        writer.users(pl.DataFrame({"id": ["u", "u_1", "alone"]}))
        writer.impressions("train", TRAIN.with_columns(user=pl.lit("u")))
    main(["export", "--store", str(tmp_path / "store"), "--out", str(tmp_path / "d")])
    keys = load_pickle(tmp_path / "d" / "users" / "user_id.vocab")
    assert keys == ["u", "u__1", "u__2", "u_1", "alone"]
    source = [part for name in ("items", "users", "train") for part in (f"--{name}", tmp_path / "d" / name)]
    assert_same(Store.open(tmp_path / "store"), imported(tmp_path / "again", *source))
    apart = imported(tmp_path / "apart", *source, "--person", "user_id")
    assert list(apart.users.ids) == keys
