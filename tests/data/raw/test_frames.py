"""Tables in memory become the store that files become; ids, times and lists of every kind are read."""

from __future__ import annotations

import datetime
import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from legorec.data.layout import StoreError
from legorec.data.raw.frames import Store, frame_of
from process.tables import main as tables

START = datetime.datetime(2024, 1, 1)
HOW: dict[str, Any] = {"text": "title", "number": ["price"], "time": "time", "num_negatives": 4}


def columns() -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Items and clicks; ids are whole numbers."""
    rng = random.Random(1)
    items = {
        "item": list(range(30)),
        "title": [f"w{number % 7} w{number % 5}" for number in range(30)],
        "price": [None if number % 6 == 0 else number / 2 for number in range(30)],
    }
    pairs = [(user, rng.randrange(30)) for user in range(8) for _ in range(6)]
    moments = rng.sample(range(10**6), len(pairs))
    clicks = {
        "user": [user for user, _ in pairs],
        "item": [item for _, item in pairs],
        "time": [START + datetime.timedelta(seconds=each) for each in moments],
    }
    return items, clicks


def test_frames_and_files_give_one_store(tmp_path: Path) -> None:
    items, clicks = columns()
    store = Store.from_frames(items, clicks, tmp_path / "columns", **HOW)
    frames = pl.DataFrame(items), pl.DataFrame(clicks)
    assert Store.from_frames(*frames, tmp_path / "polars", **HOW).digest == store.digest
    lazy = frames[0].lazy(), frames[1].lazy()
    assert Store.from_frames(*lazy, tmp_path / "lazy", **HOW).digest == store.digest
    arrays = [{name: np.array(values) for name, values in table.items()} for table in (items, clicks)]
    arrays[0]["price"] = np.array([np.nan if each is None else each for each in items["price"]])
    assert Store.from_frames(*arrays, tmp_path / "arrays", **HOW).digest == store.digest
    for name, frame in zip(("items", "clicks"), frames, strict=True):
        frame.write_parquet(tmp_path / f"{name}.parquet")
    argv = ["--items", tmp_path / "items.parquet", "--interactions", tmp_path / "clicks.parquet"]
    argv += ["--text", "title", "--number", "price", "--time", "time", "--num_negatives", 4]
    tables([str(each) for each in [*argv, "--out", tmp_path / "files"]])
    assert Store.open(tmp_path / "files").digest == store.digest


def test_frames_of_pandas_give_the_same(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    items, clicks = columns()
    store = Store.from_frames(items, clicks, tmp_path / "columns", **HOW)
    frames = [pandas.DataFrame(items), pandas.DataFrame(clicks)]
    assert Store.from_frames(*frames, tmp_path / "plain", **HOW).digest == store.digest
    frames[0] = frames[0].sample(frac=1, random_state=1).sort_values("item")  # labels are not places
    frames[0] = frames[0].astype({"title": "category", "item": "Int64"})
    frames[1]["time"] = frames[1]["time"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")
    assert Store.from_frames(*frames, tmp_path / "typed", **HOW).digest == store.digest
    twice = pandas.concat([frames[0], frames[0][["title"]]], axis=1)
    with pytest.raises(ValueError, match="items: a column of the frame is there twice"):
        frame_of(twice, "items")


@pytest.mark.parametrize(
    "spell",
    [lambda n: uuid.UUID(int=n), lambda n: f"i{n}", lambda n: np.int32(n), lambda n: n if n % 2 else f"x{n}"],
    ids=["uuid", "text", "numpy", "mixed"],
)
def test_ids_of_any_type_are_texts(tmp_path: Path, spell: Callable[[int], Any]) -> None:
    items, clicks = columns()
    items["item"] = [spell(each) for each in items["item"]]
    clicks["item"] = [spell(each) for each in clicks["item"]]
    store = Store.from_frames(items, clicks, tmp_path / "store", **HOW)
    assert list(store.items.ids) == [str(each) for each in items["item"]]
    assert store.manifest["histories"]["clicks"] > 0


def test_times_are_kept_to_the_second(tmp_path: Path) -> None:
    items, clicks = columns()
    whole = Store.from_frames(items, clicks, tmp_path / "whole", **HOW).interactions("test").time
    seconds = [int(each.replace(tzinfo=datetime.UTC).timestamp()) for each in clicks["time"]]
    numbers = Store.from_frames(items, clicks | {"time": seconds}, tmp_path / "numbers", **HOW)
    assert whole is not None and np.array_equal(whole, numbers.interactions("test").time)
    assert set(whole.tolist()) <= set(seconds)


def test_histories_users_and_lists(tmp_path: Path) -> None:
    items, _ = columns()
    items["tags"] = [[f"t{number % 3}", "all"] if number % 4 else [] for number in range(30)]
    histories = {"user": ["a", "b"], "clicks": [[1, 2, 3, 4], np.array([5, 6, 7])]}
    users = {"user": ["a", "b"], "region": ["north", None]}
    store = Store.from_frames(
        items, histories, tmp_path / "store", users=users, history="clicks", categories="tags",
        user_category={"where": "region"}, num_negatives=3,
    )  # fmt: skip
    assert store.histories.tolist() == [1, 2, 3, 5, 6]  # the last click is held out
    assert store.vocabulary("tags")[-2:] and store.users.field_names == ("where",)


@pytest.mark.parametrize(
    ("items", "how", "message"),
    [
        ({"titel": "x"}, {}, "items: there is no column 'title'"),
        ({"title": ["a"]}, {}, "its columns differ in length"),
        ({"title": "abc"}, {}, "column 'title' must hold one value a row, got 'abc'"),
        (None, {}, "items: must be a frame of pandas or polars"),
        ({}, {"split": "lst"}, "`split` must be one of last, users, time, column; did you mean 'last'"),
        ({}, {"split": "column"}, "`split` column and `split_column` go together"),
        ({}, {"label": "user", "rating": "user"}, "give `label` or `rating`, not both"),
        ({}, {"label": "user"}, "must hold 0 and 1; for ratings there is `rating`"),
        ({}, {"text": "titl"}, "items: there is no column 'titl'"),
    ],
)
def test_what_is_wrong_is_told_in_words_of_python(
    tmp_path: Path, items: dict[str, Any] | None, how: dict[str, Any], message: str
) -> None:
    right, clicks = columns()
    given: Any = None if items is None else right | items
    if items == {"titel": "x"}:
        given = {name: values for name, values in right.items() if name != "title"}
    with pytest.raises(ValueError) as error:
        Store.from_frames(given, clicks, tmp_path / "store", **HOW | how)
    assert message in str(error.value) and "--" not in str(error.value)
    assert not (tmp_path / "store").exists()


def test_a_store_that_is_there_is_replaced_when_asked(tmp_path: Path) -> None:
    items, clicks = columns()
    Store.from_frames(items, clicks, tmp_path / "store", **HOW)
    with pytest.raises(StoreError, match="store"):
        Store.from_frames(items, clicks, tmp_path / "store", **HOW)
    assert Store.from_frames(items, clicks, tmp_path / "store", **HOW, overwrite=True).splits
