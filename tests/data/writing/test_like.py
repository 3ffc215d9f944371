"""A store made like an older one keeps its vocabularies, its fields and how its numbers are scaled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from legorec.data.catalog import Catalog
from legorec.data.layout import StoreError
from legorec.data.raw.frames import Store
from legorec.data.text import TokenizerChoice
from legorec.data.tokenizations import add_tokenization
from legorec.settings.schema import FieldSettings
from process.tables import main as tables

HOW: dict[str, Any] = {"text": ["title", "lead"], "category": "topic", "number": "price", "num_negatives": 3}


def content(extra: int = 0) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Twenty items, and some more that come first, with a word, a category and a price of their own."""
    new = [f"n{number}" for number in range(extra)]
    ids = [*new, *(f"i{number}" for number in range(20))]
    items = {
        "item": ids,
        "title": [*("w1 unheard" for _ in new), *(f"w{number % 7} w{number % 3}" for number in range(20))],
        "lead": [*("l1" for _ in new), *(f"l{number % 4}" for number in range(20))],
        "topic": [*("opera" for _ in new), *(f"t{number % 4}" for number in range(20))],
        "price": [*(1000.0 for _ in new), *(float(number % 6) for number in range(20))],
    }
    pairs = [(user, ids[(user * 3 + turn * 5) % len(ids)]) for user in range(12) for turn in range(4)]
    return items, {"user": [user for user, _ in pairs], "item": [item for _, item in pairs]}


@pytest.fixture
def old(tmp_path: Path) -> Store:
    return Store.from_frames(*content(), tmp_path / "old", **HOW)


def test_old_ids_stay_and_what_is_new_is_unknown(old: Store, tmp_path: Path) -> None:
    new = Store.from_frames(*content(2), tmp_path / "new", like=old, num_negatives=3)
    for name in ("tokenizers/words/tokenizer.json", "vocabularies/topic.json"):
        assert new.manifest["files"][name] == old.manifest["files"][name]
    assert new.items.field_names == old.items.field_names and new.items.text_names == old.items.text_names
    for name in ("title@words", "lead@words", "topic", "price"):
        for row in range(20):
            now, then = new.items.field(name).rows, old.items.field(name).rows
            assert now[row + 2].tolist() == then[row].tolist()
    title, topic = new.items.field("title@words").rows, new.items.field("topic").rows
    unknown = new.tokenizer("words").token_to_id("[UNK]")
    assert title[0].tolist() == [new.tokenizer("words").token_to_id("w1"), unknown]
    assert not topic.lengths[:2].any() and topic.lengths[2:].all()
    assert new.manifest["dropped"]["rows"] == {
        "values of 'topic' that are no category of the store it is made like": 2
    }
    assert new.manifest["made_with"]["like"] == old.digest


@pytest.mark.parametrize("scaled", ["standard", "min_max"])
def test_numbers_are_scaled_as_they_were(old: Store, tmp_path: Path, scaled: Any) -> None:
    first = Store.from_frames(*content(2), tmp_path / "first", like=old, num_negatives=3)
    second = Store.from_frames(*content(3), tmp_path / "second", like=first.path, num_negatives=3)
    cuts = {"price": FieldSettings(scaled=scaled)}
    fields = [Catalog.from_store(store, cuts).fields[0] for store in (old, first, second)]
    assert len({(field.mean, field.deviation) for field in fields}) == 1
    fresh = Store.from_frames(*content(2), tmp_path / "fresh", **HOW)
    assert Catalog.from_store(fresh, cuts).fields[0].deviation > 10 * fields[0].deviation > 0


def test_the_old_store_may_be_the_one_that_is_replaced(old: Store, tmp_path: Path) -> None:
    digest = old.digest
    new = Store.from_frames(
        *content(1), old.path, like=old.path, num_negatives=3, overwrite=True, tokenizers="words"
    )
    assert new.manifest["made_with"]["like"] == digest and len(new.items) == 21


def test_tokenizations_that_were_added_later_are_made_too(old: Store, tmp_path: Path) -> None:
    add_tokenization(old.path, "lead", TokenizerChoice("chars"))
    new = Store.from_frames(*content(1), tmp_path / "new", like=old.path, num_negatives=3)
    assert new.items.field_names == Store.open(old.path).items.field_names
    assert [name for name in new.items.field_names if "chars" in name] == ["lead@chars"]


def test_files_and_frames_give_one_store(old: Store, tmp_path: Path) -> None:
    items, clicks = content(2)
    new = Store.from_frames(items, clicks, tmp_path / "frames", like=old, num_negatives=3)
    pl.DataFrame(items).write_parquet(tmp_path / "items.parquet")
    pl.DataFrame(clicks).write_parquet(tmp_path / "clicks.parquet")
    argv = ["--items", tmp_path / "items.parquet", "--interactions", tmp_path / "clicks.parquet"]
    argv += ["--num_negatives", 3, "--out", tmp_path / "files", "--like", old.path]
    tables([str(each) for each in argv])
    assert Store.open(tmp_path / "files").digest == new.digest


def test_fields_of_users_are_kept_too(tmp_path: Path) -> None:
    items, clicks = content()
    users = {"user": list(range(12)), "age": [float(age) for age in range(12)], "city": ["a", "b"] * 6}
    how = {**HOW, "user_number": "age", "user_category": "city"}
    old = Store.from_frames(items, clicks, tmp_path / "old", users=users, **how)
    later = {**users, "age": [90.0] * 12, "city": ["c", "a"] * 6}
    new = Store.from_frames(items, clicks, tmp_path / "new", users=later, like=old, num_negatives=3)
    cuts = {"age": FieldSettings()}
    before, after = (Catalog.from_table(store.users, cuts).fields[0] for store in (old, new))
    assert (after.mean, after.deviation) == (before.mean, before.deviation)
    assert np.array_equal(new.users.field("city").rows.lengths, [0, 1] * 6)
    with pytest.raises(
        StoreError, match=r"users: its fields are none, those of .* are city \(category\), age"
    ):
        Store.from_frames(items, clicks, tmp_path / "other", like=old, num_negatives=3)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"text": "title", "category": "topic"}, r"its fields are title \(text\), topic.*'lead' differs"),
        ({**HOW, "category": ["topic", "price"], "number": ()}, r"price \(category\).*'price' differs"),
        ({"tokenizers": "chars"}, r"tokenizer 'chars' \(kind chars.* which has words;"),
    ],
)
def test_what_is_not_like_the_old_store_is_refused(
    old: Store, tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        Store.from_frames(*content(1), tmp_path / "new", like=old, **given)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "given, message",
    [
        (["--like", "nowhere"], "the store to be like: nowhere: there is no such folder"),
        (
            ["--like", "OLD", "--min_count", "3"],
            r"tokenizer 'words' \(kind words, min_count 3.* so name none",
        ),
        (["--like", "OLD", "--max_words", "30"], r"max_size 30, min_count 1\).*has kind words, min_count 1;"),
        (["--like", "OLD", "--tokenizer", "chars"], r"tokenizer 'chars'"),
    ],
)
def test_wrong_flags_beside_like_are_refused(
    old: Store, tmp_path: Path, given: list[str], message: str
) -> None:
    items, clicks = content(2)
    pl.DataFrame(items).write_parquet(tmp_path / "items.parquet")
    pl.DataFrame(clicks).write_parquet(tmp_path / "clicks.parquet")
    argv = ["--items", tmp_path / "items.parquet", "--interactions", tmp_path / "clicks.parquet"]
    argv += ["--text", "title", "--text", "lead", "--category", "topic", "--number", "price"]
    argv += ["--out", tmp_path / "new", *(old.path if each == "OLD" else each for each in given)]
    with pytest.raises(StoreError, match=message):
        tables([str(each) for each in argv])
