"""Depots that UniTok itself wrote, imported, trained on, predicted and exported; UniTok reads the export."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import legorec
import process.unitok
from legorec.data.store import Store
from legorec.data.text import encode, load_tokenizer
from tests.support.planted import KINDS, NUM_ITEMS, TITLES, items_of_users, shown_to_users, suits
from tests.support.planted_files import write_depots
from tests.support.raw_files import ROOT
from tests.support.runs import arguments, finish
from tests.support.small_store import files
from tests.support.unitok_depots import TRAIN, assert_same, depots, imported, impressions

NUM_NEWS = 1000
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *KINDS, "story", "##s", *map(str, range(10))]
PIECES += [f"##{digit}" for digit in range(10)]
# What the columns are called in the depots, and how the command line says so.
COLUMNS = {"item": "news", "user": "reader", "label": "clicked", "group": "log", "history": "clicks"}
Rows = list[dict[str, Any]]


def titles() -> list[str]:
    """Some are empty, some have words that the vocabulary lacks."""
    odd = ["", "  ", "Chess, unheard of", "[UNK] ##s", "STORYS 7"]
    return [*TITLES, *(f"{odd[n % 5]} {KINDS[n % 4]} {n}" * (n % 5 > 0) for n in range(NUM_ITEMS, NUM_NEWS))]


def tables_of_news() -> dict[str, Rows]:
    """Items, users and three splits, as raw values."""
    items = [{"nid": f"N{n}", "title": title, "cat": f"c{n % 7}"} for n, title in enumerate(titles())]
    users = [
        {"uid": f"U{n}", "clicks": [f"N{item}" for item in row]} for n, row in enumerate(items_of_users())
    ]
    found = {"items": items, "users": users}
    for seed, (split, count) in enumerate({"train": 900, "valid": 120, "test": 120}.items()):
        found[split] = [
            {"log": f"L{n}", "reader": f"U{user}", "news": f"N{item}", "clicked": int(suits(user, item))}
            for n, (user, shown) in enumerate(shown_to_users(count, seed))
            for item in shown
        ]
    return found


def by_unitok_4(folder: Path, raw: dict[str, Rows], bert: Path) -> None:
    """Depots of version 4, as Legommenders makes them."""
    unitok, pandas = pytest.importorskip("unitok"), pytest.importorskip("pandas")
    nid, uid = unitok.Vocab("nid"), unitok.Vocab("uid")
    with unitok.UniTok() as items:
        items.add_feature(unitok.EntityTokenizer(vocab=nid), "nid", key=True)
        text = unitok.TransformersTokenizer(vocab="bert", key=str(bert))
        items.add_feature(text, "title", "title@bert", truncate=0)
        items.add_feature(unitok.EntityTokenizer(vocab="cat"), "cat")
    with unitok.UniTok() as users:
        users.add_feature(unitok.EntityTokenizer(vocab=uid), "uid", key=True)
        users.add_feature(unitok.EntitiesTokenizer(vocab=nid), "clicks", truncate=0)
    made = {"items": items, "users": users}
    for split in ("train", "valid", "test"):
        with unitok.UniTok() as made[split]:
            made[split].add_index_feature()
            made[split].add_feature(unitok.EntityTokenizer(vocab=split), "log")
            made[split].add_feature(unitok.EntityTokenizer(vocab=uid), "reader")
            made[split].add_feature(unitok.EntityTokenizer(vocab=nid), "news")
            made[split].add_feature(unitok.DigitTokenizer(vocab="clicked", vocab_size=2), "clicked")
    for name, depot in made.items():
        with depot:
            depot.tokenize(pandas.DataFrame(raw[name])).save(str(folder / name))


def by_unitok_3(folder: Path, raw: dict[str, Rows], bert: Path) -> None:
    """Depots of version 3, as ONCE made them."""
    unitok, pandas = pytest.importorskip("UniTokv3"), pytest.importorskip("pandas")
    tok, column = unitok.tok, unitok.Column
    nid, uid = unitok.Vocab("nid"), unitok.Vocab("uid")
    made = {name: unitok.UniTok() for name in raw}
    made["items"].add_col(column(tok.IdTok(vocab=nid), "nid"))
    text = tok.BertTok(name="bert", vocab_dir=str(bert))
    text.vocab = unitok.Vocab("bert")  # transformers names the words in any order, once by their ids
    text.vocab.extend(PIECES)
    made["items"].add_col(column(text, "title", max_length=50))
    made["items"].add_col("cat", tok.EntTok(name="cat"))
    made["users"].add_col(column(tok.IdTok(vocab=uid), "uid"))
    made["users"].add_col(column(tok.SeqTok(vocab=nid), "clicks", max_length=30, slice_post=True))
    for split in ("train", "valid", "test"):
        made[split].add_index_col()
        made[split].add_col("log", tok.EntTok(name="log"))
        made[split].add_col("reader", tok.EntTok(vocab=uid)).add_col("news", tok.EntTok(vocab=nid))
        made[split].add_col("clicked", tok.NumberTok(name="clicked", vocab_size=2))
    for name, depot in made.items():
        depot.read(pandas.DataFrame(raw[name])).tokenize().store(str(folder / name))


def bert_of(folder: Path) -> Path:
    """A folder as Hugging Face saves a tokenizer."""
    transformers = pytest.importorskip("transformers")
    (folder / "vocab.txt").write_text("\n".join(PIECES))
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    return folder / "bert"


def source_of(folder: Path, bert: Path) -> list[Any]:
    """The arguments that name the depots in a folder, and the tokenizer of their titles."""
    flags = {"items": "items", "users": "users", "train": "train", "dev": "valid", "test": "test"}
    source = [part for flag, name in flags.items() for part in (f"--{flag}", folder / name)]
    return [*source, "--tokenizer", f"bert={bert}"]


def as_a_command(*arguments: Any) -> str:
    """What ``process/unitok.py`` prints."""
    command = [sys.executable, ROOT / "process" / "unitok.py", *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_what_was_written(store: Store, raw: dict[str, Rows]) -> None:
    """The items, users, histories and impressions of the raw tables, in their order; no id is dropped."""
    assert list(store.items.ids) == [row["nid"] for row in raw["items"]]
    assert list(store.users.ids) == [row["uid"] for row in raw["users"]]
    cats = [store.vocabulary("cat")[row[0]] for row in store.items.field("cat").rows]
    assert cats == [row["cat"] for row in raw["items"]]
    clicks = {row["uid"]: row["clicks"] for row in raw["users"]}
    for split, name in (("train", "train"), ("dev", "valid"), ("test", "test")):
        wanted: dict[str, tuple[str, list[str], dict[str, int]]] = {}
        for row in raw[name]:
            reader = row["reader"]
            wanted.setdefault(row["log"], (reader, clicks[reader], {}))[2][row["news"]] = row["clicked"]
        assert impressions(store, split) == list(wanted.values())
        counted = store.manifest["dropped"]["ids"].get(split, {})
        assert not any(place["missing"] for place in counted.values())


def is_read_by_unitok(folder: Path, raw: dict[str, Rows], tokens: list[list[int]]) -> None:
    """Every row and every vocabulary of an export, as UniTok 4 loads it, against the raw tables."""
    unitok = pytest.importorskip("unitok")
    read = {name: unitok.UniTok.load(str(folder / name)) for name in raw}
    words = {
        name: {each.name: list(each.tokenizer.vocab) for each in depot.meta.features}
        for name, depot in read.items()
    }
    assert words["items"]["title@bert"] == PIECES and words["train"]["click"] == ["0", "1"]
    assert [row["title@bert"] for row in read["items"]] == tokens
    items = words["items"]["item_id"]
    found = [(items[row["item_id"]], words["items"]["cat"][row["cat"]]) for row in read["items"]]
    assert found == [(row["nid"], row["cat"]) for row in raw["items"]]
    users = words["users"]["user_id"]
    found = [(users[row["user_id"]], [items[each] for each in row["history"]]) for row in read["users"]]
    assert found == [(row["uid"], row["clicks"]) for row in raw["users"]]
    for split in ("train", "valid", "test"):
        of = words[split]
        assert of["item_id"] == items == words["users"]["history"] and of["user_id"] == users
        columns = {"log": "imp", "reader": "user_id", "news": "item_id"}
        found = [{mine: of[its][row[its]] for mine, its in columns.items()} for row in read[split]]
        labels = [row["click"] for row in read[split]]
        assert [{**row, "clicked": label} for row, label in zip(found, labels, strict=True)] == raw[split]


@pytest.mark.slow
@pytest.mark.parametrize("version", [3, 4])
def test_from_unitok_to_unitok(tmp_path: Path, version: int) -> None:
    """Imported, trained on, predicted, exported, loaded by UniTok, imported again."""
    raw, bert = tables_of_news(), bert_of(tmp_path)
    write: Callable[..., None] = by_unitok_4 if version == 4 else by_unitok_3
    write(tmp_path / "depots", raw, bert)
    named = [part for flag, column in COLUMNS.items() for part in (f"--{flag}", column)]
    out = as_a_command("import", *source_of(tmp_path / "depots", bert), *named, "--out", tmp_path / "store")
    assert "1,000 items, 240 users" in out and "dropped" not in out
    store = Store.open(tmp_path / "store")
    is_what_was_written(store, raw)
    tokens = tokens_of_unitok(tmp_path / "depots" / "items", version)
    assert [row.tolist() for row in store.items.field("title@bert").rows] == tokens
    ours = [row.tolist() for row in encode(load_tokenizer(bert), titles())]
    apart = [place for place, row in enumerate(ours) if row != tokens[place]]
    # What spells a control token is that token for UniTok, and text for us.
    assert apart == [place for place, title in enumerate(titles()) if "[UNK]" in title] != []

    data = {"data__fields": "{title@bert: {max_length: 20}, cat: {}}", "batch_size": 32, "lr": 1e-2}
    run = finish(arguments(tmp_path / "store", tmp_path / "runs", epoch=1, **data))
    metrics = json.loads((run / "metrics.json").read_text())
    gauc = metrics["test"]["metrics"]["gauc"]
    assert gauc > 0.7 > metrics["baselines"]["random"]["metrics"]["gauc"]
    argv = arguments(tmp_path / "store", tmp_path / "predicted", exp="predict", load=run, **data)
    said = pl.read_parquet(finish(argv) / "predictions.parquet")
    assert said.select("user", "item").rows() == [(row["reader"], row["news"]) for row in raw["test"]]
    right = said.with_columns(clicked=pl.Series([row["clicked"] for row in raw["test"]])).filter(clicked=1)
    assert 1 - (right["rank"] - 1).mean() / 4 == pytest.approx(gauc), "one of five is clicked"

    as_a_command("export", "--store", tmp_path / "store", "--out", tmp_path / "out")
    is_read_by_unitok(tmp_path / "out", raw, tokens)
    again = imported(tmp_path / "again", *source_of(tmp_path / "out", bert))
    assert_same(store, again)
    is_what_was_written(again, raw)


def tokens_of_unitok(folder: Path, version: int) -> list[list[int]]:
    """The tokens of titles as UniTok itself reads them."""
    if version == 3:
        depot = pytest.importorskip("UniTokv3").UniDep(str(folder), verbose=False)
        return [depot[row]["title"] for row in range(len(depot))]
    return [row["title@bert"] for row in pytest.importorskip("unitok").UniTok.load(str(folder))]


def test_a_new_item_with_a_word_that_the_vocabulary_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No token stands for it, and none is left out in silence."""
    monkeypatch.chdir(tmp_path)
    write_depots(4)
    flags = {"items": "news", "users": "user", "train": "train", "dev": "dev", "test": "test"}
    imported(
        tmp_path / "store", *(part for flag, name in flags.items() for part in (f"--{flag}", f"MIND/{name}"))
    )
    data = {"data__fields": "{title@bert: {max_length: 20}}", "batch_size": 64}
    model = legorec.load(
        finish(arguments(tmp_path / "store", tmp_path / "runs", epoch=1, **data)), device="cpu"
    )
    assert np.isfinite(model.score(["n1"], [{"title": "chess story"}, {"title": ""}])).all()
    message = (
        r"the text 'chess unheard' has words that its vocabulary lacks \(.*\); leave them out, or import "
        "the depot with the tokenizer that made it, --tokenizer NAME=FOLDER of process/unitok.py"
    )
    with pytest.raises(ValueError, match=message):
        model.score(["n1"], [{"title": "chess story"}, {"title": "chess unheard"}])


def test_users_without_an_impression_are_counted(tmp_path: Path) -> None:
    """No split asks for their histories, so a store has no place for them."""
    train = {name: (words, values[:-1]) for name, (words, values) in TRAIN.items()}
    store = imported(tmp_path / "store", *depots(tmp_path, train=train))
    assert store.manifest["dropped"]["rows"]["histories of users without an impression"] == 1
    assert list(store.users.ids) == ["u", "v", "w"]


def test_impressions_in_pieces_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = depots(tmp_path)
    imported(tmp_path / "store", *source)
    monkeypatch.setattr(process.unitok, "CHUNK", 1)
    imported(tmp_path / "again", *source)
    assert files(tmp_path / "store") == files(tmp_path / "again")
