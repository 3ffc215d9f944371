"""Merged stores: what was there stays, what was generated stands where it may, and nothing is done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from legorec.data.store import Store, StoreError
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter
from legorec.texts.answers import answers_of
from legorec.texts.merging import Merge, merge
from tests.support.schemes import INVENTED, PROFILES, TITLES, scheme
from tests.support.small_store import CHARS, COLUMNS, DEV, ITEMS, TRAIN, WORDS, files, write
from tests.texts.test_answers import log

Said = list[tuple[str, str]]


def merged(store: Store, out: Path, tree: dict[str, Any], *logs: Said, **how: Any) -> bool:
    """Merge answers into a store."""
    paths = []
    for number, said in enumerate(logs):
        path = out.with_name(f"{out.name}-{number}.log")
        path.unlink(missing_ok=True)
        paths.append(log(path, tree, *said))
    asked = scheme(tree)
    answers = answers_of(asked, paths, say=lambda _: None)
    overwrite = how.pop("overwrite", False)
    return merge(Merge(store, asked, asked.model_dump(), answers, **how), out, overwrite)


def histories_of(store: Store, split: str) -> list[tuple[str, list[str]]]:
    """The user and the history of every impression, in raw ids."""
    ids, users = list(store.items.ids), list(store.users.ids)
    table = store.interactions(split)
    spans = [store.spans[span] for span in table.span]
    rows = [[ids[row] for row in store.histories[start:stop]] for start, stop in spans]
    return [(users[user], row) for user, row in zip(table.user, rows, strict=True)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write(tmp_path / "store")


def test_a_new_text_beside_the_old_one(store: Store, tmp_path: Path) -> None:
    said = [("a", "[newtitle] Hello you"), ("x", "none"), ("é", "[newtitle] A secret")]
    assert merged(store, tmp_path / "new", TITLES, said)
    new = Store.open(tmp_path / "new", verify="full")
    assert list(new.items.text("newtitle")) == ["Hello you", "", "", "A secret", ""]
    assert list(new.items.text("title")) == list(store.items.text("title"))
    # As if the field had been in the table from the start.
    items = ITEMS.with_columns(newtitle=pl.Series([*new.items.text("newtitle")]))
    with StoreWriter(tmp_path / "whole", {"processor": "small"}, [WORDS]) as writer:
        writer.items(items, [*COLUMNS, Column("newtitle", "text")])
        writer.impressions("train", TRAIN)
        writer.impressions("dev", DEV)
    whole = Store.open(tmp_path / "whole")
    for name in whole.items.field_names:
        assert new.items.field(name).rows == whole.items.field(name).rows, name
    assert new.tokenizer("words").to_str() == whole.tokenizer("words").to_str()
    same = ["histories.safetensors", "interactions/train.safetensors", "interactions/dev.safetensors"]
    assert all(new.manifest["files"][name] == store.manifest["files"][name] for name in same)
    (record,) = new.manifest["generations"]
    assert record["base"] == store.digest and record["generators"] == [{"model": "m"}]
    assert record["counts"]["items without an answer"] == 3 == record["counts"]["`newtitle` empty"]


def test_another_field_stands_in(store: Store, tmp_path: Path) -> None:
    tree = TITLES | {"answer": {"form": "labelled", "fields": {"newtitle": {"otherwise": "title"}}}}
    merged(store, tmp_path / "new", tree, [("a", "[newtitle] New")])
    new = Store.open(tmp_path / "new")
    assert list(new.items.text("newtitle")) == ["New", "", "A b c", "secret é", ""]
    assert new.manifest["generations"][0]["counts"]["`newtitle` taken from `title`"] == 4


def test_a_profile(store: Store, tmp_path: Path) -> None:
    said = [("u", "[topics] Sport, war\n[region] North"), ("v", "[topics] news")]
    merged(store, tmp_path / "new", PROFILES | {"least": 0}, said)
    new = Store.open(tmp_path / "new", verify="full")
    topics, names = new.users.field("topics"), new.vocabulary("topics")
    assert [[names[value] for value in row] for row in topics.rows] == [["sport"], ["news"]]
    assert new.users.field("region").kind == "categories"
    assert [len(row) for row in new.users.field("region").rows] == [1, 0]
    assert new.items.num_real == len(new.items)


def test_generated_items_come_after_the_clicks_they_were_made_from(store: Store, tmp_path: Path) -> None:
    # The prompt of u shows [a], the history of its latest training impression.
    said = [("u", '{"title": "Made up", "category": "sport"}'), ("v", '{"title": "Never asked"}')]
    merged(store, tmp_path / "new", INVENTED, said)
    new = Store.open(tmp_path / "new", verify="full")
    assert list(new.items.ids) == [*store.items.ids, "generated:u:0"]
    assert new.items.generated.tolist() == [False] * 5 + [True] and new.items.num_real == 5
    assert new.items.text("title")[5] == "Made up" and len(new.items.field("genres").rows[5]) == 0
    names = new.vocabulary("category")
    assert [names[value] for value in new.items.field("category").rows[5]] == ["sport"]
    made = "generated:u:0"
    assert histories_of(new, "train") == [
        ("u", ["a", made]),
        ("v", []),
        ("u", ["a", made, "b"]),
        ("u", ["a", made]),
    ]
    assert histories_of(new, "dev") == [("u", ["a", made, "b", "é", "c"]), ("v", [])]
    for split in ("train", "dev"):
        before, after = store.interactions(split), new.interactions(split)
        assert before.candidates == after.candidates and np.array_equal(before.labels, after.labels)
    counts = new.manifest["generations"][0]["counts"]
    assert counts["users with an answer and no prompt of this scheme"] == 1
    assert counts["generated items"] == 1 and counts["histories with them"] == 3


def test_no_history_knows_what_was_made_from_a_later_click(store: Store, tmp_path: Path) -> None:
    tree = INVENTED | {"least": 2, "history": "first"}  # shows [a, b]
    merged(store, tmp_path / "new", tree, [("u", '{"title": "One"}')], [("u", '{"title": "Two"}')])
    new = Store.open(tmp_path / "new")
    both = ["generated:u:0", "generated:u:1"]
    found = histories_of(new, "train")
    assert found == [("u", ["a"]), ("v", []), ("u", ["a", "b", *both]), ("u", ["a"])]
    assert histories_of(new, "dev")[0] == ("u", ["a", "b", *both, "é", "c"])


def test_a_planted_click_of_dev_or_test_changes_nothing_generated(store: Store, tmp_path: Path) -> None:
    planted = {"user": ["v"], "history": [["x"]], "candidates": [["é"]], "labels": [[1]]}
    with StoreWriter(tmp_path / "planted", {"processor": "small"}, [WORDS, CHARS]) as writer:
        writer.items(ITEMS, COLUMNS)
        writer.impressions("train", TRAIN)
        writer.impressions("dev", DEV)
        writer.impressions("test", pl.DataFrame(planted))
    # An answer about v, who has clicks in test alone, cannot stem from a prompt and is left out.
    said = [("u", '{"title": "Made up"}'), ("v", '{"title": "From test"}')]
    for name in ("store", "planted"):
        merged(Store.open(tmp_path / name), tmp_path / f"{name}-new", INVENTED, said)
    new, with_planted = (Store.open(tmp_path / f"{name}-new") for name in ("store", "planted"))
    assert list(new.items.ids) == list(with_planted.items.ids)
    assert histories_of(new, "train") == histories_of(with_planted, "train")
    assert histories_of(with_planted, "test") == [("v", ["x"])]
    (tmp_path / "profiles").mkdir()
    merged(
        Store.open(tmp_path / "planted"),
        tmp_path / "p",
        PROFILES,
        [("u", "[topics] sport"), ("v", "[topics] news")],
    )
    assert [len(row) for row in Store.open(tmp_path / "p").users.field("topics").rows] == [1, 0]


def test_merging_twice_changes_nothing(store: Store, tmp_path: Path) -> None:
    said = [("u", '{"title": "Made up"}')]
    assert merged(store, tmp_path / "new", INVENTED, said)
    digest, kept = Store.open(tmp_path / "new").digest, files(tmp_path / "new")
    assert not merged(store, tmp_path / "new", INVENTED, said)
    assert files(tmp_path / "new") == kept
    assert merged(store, tmp_path / "new", INVENTED, said, overwrite=True)
    assert Store.open(tmp_path / "new", verify="full").digest == digest
    assert not merged(Store.open(tmp_path / "new"), tmp_path / "twice", INVENTED, said)
    assert Store.open(tmp_path / "twice", verify="full").digest == digest
    with pytest.raises(StoreError, match="it exists; give another name"):
        merged(store, tmp_path / "new", INVENTED, [("u", '{"title": "Else"}')])


def test_generations_on_top_of_each_other(store: Store, tmp_path: Path) -> None:
    tree = TITLES | {"answer": {"form": "labelled", "fields": {"newtitle": {"otherwise": "title"}}}}
    merged(store, tmp_path / "1", tree, [("a", "[newtitle] New")])
    merged(Store.open(tmp_path / "1"), tmp_path / "2", INVENTED, [("u", '{"title": "One"}')])
    merged(Store.open(tmp_path / "2"), tmp_path / "3", INVENTED, [("u", '{"title": "Two"}')])
    new = Store.open(tmp_path / "3", verify="full")
    assert len(new.manifest["generations"]) == 3 and new.items.num_real == 5
    assert list(new.items.ids)[5:] == ["generated:u:0", "generated:u:1"]
    assert list(new.items.text("newtitle"))[5:] == ["One", "Two"]  # as in items without an answer
    assert histories_of(new, "train")[0] == ("u", ["a", "generated:u:0", "generated:u:1"])
    with pytest.raises(StoreError, match="its items have a field 'newtitle' already; merge into the store"):
        merged(Store.open(tmp_path / "3"), tmp_path / "4", tree, [("a", "[newtitle] Other")])


def test_ids_that_are_in_no_table(store: Store, tmp_path: Path) -> None:
    said = [("a", "[newtitle] A"), ("nobody", "[newtitle] B")]
    with pytest.raises(StoreError, match=r"1 of 2 item ids \(answers\) are in no table .*--max_missing"):
        merged(store, tmp_path / "new", TITLES, said)
    merged(store, tmp_path / "new", TITLES, said, max_missing=0.5)
    assert Store.open(tmp_path / "new").manifest["generations"][0]["counts"]["ids in no table"] == 1
    rows = [("3", "[newtitle] C")]
    merged(store, tmp_path / "rows", TITLES, rows, by_row=True)
    assert list(Store.open(tmp_path / "rows").items.text("newtitle"))[3] == "C"
    with pytest.raises(StoreError, match="are in no table"):
        merged(store, tmp_path / "far", TITLES, [("5", "[newtitle] D")], by_row=True)
    with pytest.raises(StoreError, match="no answer is about its items"):
        merged(store, tmp_path / "none", TITLES, [("nobody", "[newtitle] B")], max_missing=1.0)
    assert not (tmp_path / "far").exists() and not (tmp_path / "none").exists()
