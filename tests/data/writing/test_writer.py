"""The writer: ids to rows, what is dropped, histories as spans, all or nothing, the same bytes each time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import polars as pl
import pytest

from legorec.data.store import Store, StoreError
from legorec.data.text import TokenizerChoice
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter
from tests.support.small_store import COLUMNS, DEV, ITEMS, TRAIN, WORDS, files, write

ROOT = Path(__file__).parents[3]


def test_r20_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_no_path_is_written(tmp_path: Path) -> None:
    store = write(tmp_path / "one")
    folder = tmp_path / "bert"
    folder.mkdir()
    store.tokenizer("words").save(str(folder / "tokenizer.json"))
    with StoreWriter(tmp_path / "two", {}, [TokenizerChoice("bert", folder)]) as writer:
        writer.items(ITEMS, COLUMNS)
    for data in files(tmp_path / "two").values():
        assert str(tmp_path).encode() not in data


def test_an_existing_store_is_kept_or_replaced(tmp_path: Path) -> None:
    before = write(tmp_path / "small").digest
    with pytest.raises(StoreError, match="it exists; give another name, or --overwrite"):
        write(tmp_path / "small", number=2)
    assert Store.open(tmp_path / "small").digest == before
    assert write(tmp_path / "small", overwrite=True, number=2).digest != before
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_the_slower_of_two_writers_does_not_replace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no locks, which tell the second one at its start."""
    monkeypatch.setattr("legorec.files.lock.fcntl", None)
    with pytest.raises(StoreError, match="it exists"), StoreWriter(tmp_path / "small", {}, [WORDS]) as writer:
        writer.items(ITEMS, COLUMNS)
        before = write(tmp_path / "small").digest
    assert Store.open(tmp_path / "small").digest == before
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_a_folder_that_is_no_store_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(StoreError, match="is not a data store; it is left as it is"):
        write(tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_a_failure_leaves_nothing_and_keeps_the_old_store(tmp_path: Path) -> None:
    before = write(tmp_path / "small").digest
    with (
        pytest.raises(RuntimeError, match="stop"),
        StoreWriter(tmp_path / "small", {}, [WORDS], overwrite=True) as writer,
    ):
        writer.items(ITEMS, COLUMNS)
        raise RuntimeError("stop")
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
    assert Store.open(tmp_path / "small").digest == before


@pytest.mark.parametrize("call", range(0, 40, 3))
def test_a_store_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """The disk fails at one call after another: no store that opens, and the old one stays."""
    whole = {write(tmp_path / "old").digest, write(tmp_path / "other", number=2).digest}
    calls = 0

    def failing(path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls > call:
            raise OSError(28, "No space left on device")

    for module in ("files.disk", "files.whole", "data.layout", "data.writing.arrays", "data.writing.folder"):
        monkeypatch.setattr(f"legorec.{module}.flush", failing)
    for name in ("old", "new"):
        calls = 0
        try:
            write(tmp_path / name, overwrite=True, number=2)
        except OSError:
            pass
    assert Store.open(tmp_path / "old", verify="full").digest in whole
    assert not (tmp_path / "new").exists() or Store.open(tmp_path / "new", verify="full").digest in whole
    assert not [path for path in tmp_path.iterdir() if ".tmp-" in path.name]


def test_a_killed_writer_leaves_nothing_that_opens(tmp_path: Path) -> None:
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.support.small_store import *
import legorec.data.writing.writer as writer
writer.write_manifest = lambda *_: os.kill(os.getpid(), 9)
write(Path({str(tmp_path / "small")!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == -9
    assert not (tmp_path / "small").exists()
    (left,) = tmp_path.iterdir()
    with pytest.raises(StoreError, match="writing it was interrupted"):
        Store.open(left)
    write(tmp_path / "small")


def test_unknown_ids_are_dropped_and_counted(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "user": ["u", "stranger", "u"],
            "history": [["a", "?", "b"], ["a"], None],
            "candidates": [["?", "c", "a"], ["a"], ["?"]],
            "labels": [[1, 0, 1], [1], [1]],
        }
    )
    with StoreWriter(tmp_path / "store", {}, max_missing=0.5) as writer:
        writer.items(ITEMS)
        writer.users(pl.DataFrame({"id": ["u"]}))
        writer.impressions("train", frame)
    store = Store.open(tmp_path / "store")
    train = store.interactions("train")
    assert len(train) == 1 and train.candidates[0].tolist() == [2, 0] and train.labels.tolist() == [0, 1]
    assert store.histories[slice(*store.spans[train.span[0]])].tolist() == [0, 1]
    assert store.manifest["dropped"] == {
        "ids": {
            "train": {
                "user ids": {"missing": 1, "of": 3},
                "item ids in history": {"missing": 1, "of": 4},
                "item ids in candidates": {"missing": 2, "of": 5},
            }
        },
        "rows": {"impressions without known candidates (train)": 1},
    }


def test_too_many_unknown_ids_are_refused(tmp_path: Path) -> None:
    frame = TRAIN.with_columns(history=pl.Series([["a", "?"], [], [], []]))
    with (
        pytest.raises(
            StoreError,
            match=r"1 of 2 item ids in history \(train\) are in no table \(50\.0%\), e\.g\. '\?'.*max_miss",
        ),
        StoreWriter(tmp_path / "store", {}) as writer,
    ):
        writer.items(ITEMS)
        writer.impressions("train", frame)
    assert not list(tmp_path.iterdir())
    with pytest.raises(StoreError, match="`max_missing` must lie between 0 and 1, got 2"):
        StoreWriter(tmp_path / "store", {}, max_missing=2)


def test_nothing_of_dev_is_in_the_vocabulary(tmp_path: Path) -> None:
    store = write(tmp_path / "small")
    assert store.items.visible.tolist() == [True, True, True, False, True]
    words = store.tokenizer("words").get_vocab()
    assert {"hello", "world", ",", "a", "b", "c", "[UNK]"} == set(words) and words["[UNK]"] == 0
    assert store.items.field("title@words").rows[3].tolist() == [0, 0]  # "secret é" is shown in dev alone


def test_empty_things(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", {}, [WORDS]) as writer:
        writer.items(ITEMS.head(0).cast({"title": pl.String}), COLUMNS)
        writer.impressions("train", TRAIN.head(0))
    store = Store.open(tmp_path / "store")
    assert len(store.items) == len(store.users) == len(store.interactions("train")) == 0
    assert len(store.items.field("title@words").rows) == 0 and store.spans.shape == (0, 2)
    with StoreWriter(tmp_path / "only", {}, [WORDS]) as writer:
        writer.items(ITEMS, COLUMNS)
    assert Store.open(tmp_path / "only").splits == ()
    assert Store.open(tmp_path / "only").items.visible.all()


def test_chunks_equal_the_whole(tmp_path: Path) -> None:
    for name, size in (("whole", 4), ("chunks", 1)):
        with StoreWriter(tmp_path / name, {}, [WORDS]) as writer:
            writer.items(ITEMS, COLUMNS)
            for start in range(0, 4, size):
                writer.impressions("train", TRAIN.slice(start, size))
            writer.impressions("dev", DEV)
    assert files(tmp_path / "whole") == files(tmp_path / "chunks")


def test_a_frame_is_taken_in_parts(tmp_path: Path) -> None:
    write(tmp_path / "whole")
    with patch("legorec.data.writing.writer.CHUNK", 3):
        write(tmp_path / "parts")
    assert files(tmp_path / "whole") == files(tmp_path / "parts")


@pytest.mark.parametrize("column", ["labels", "id", "time"])
def test_chunks_of_a_split_have_the_same_columns(tmp_path: Path, column: str) -> None:
    name = "ids" if column == "id" else column
    with (
        pytest.raises(StoreError, match=f"split 'train': all of its chunks must have `{name}`, or none"),
        StoreWriter(tmp_path / "store", {}) as writer,
    ):
        writer.items(ITEMS)
        writer.impressions("train", TRAIN)
        writer.impressions("train", TRAIN.drop(column))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": ["a", "a", "c", "d", "e"]}, "every id must occur once; 1 occur several times"),
        ({"id": ["a", None, "c", "d", "e"]}, "1 of 5 rows have no id"),
        (
            {"price": ["1", "x", "2", "inf", "0"]},
            r"'price' must hold numbers: 2 of 5 values are none, e\.g\. 'x'",
        ),
        ({"price": [1.0, 2.0, 1e39, 3.0, 4.0]}, r"1 of 5 values are none, e\.g\. 1e\+39"),
    ],
)
def test_wrong_tables_are_named(tmp_path: Path, change: dict, message: str) -> None:
    frame = ITEMS.with_columns(**{name: pl.Series(values) for name, values in change.items()})
    with pytest.raises(StoreError, match=message), StoreWriter(tmp_path / "store", {}) as writer:
        writer.items(frame, COLUMNS)


def test_wrong_impressions_are_named(tmp_path: Path) -> None:
    def write_train(frame: pl.DataFrame) -> None:
        with StoreWriter(tmp_path / "store", {}) as writer:
            writer.items(ITEMS)
            writer.impressions("train", frame)

    with pytest.raises(StoreError, match="no column 'history'; did you mean 'histories'"):
        write_train(TRAIN.rename({"history": "histories"}))
    with pytest.raises(StoreError, match="needs one label per candidate"):
        write_train(TRAIN.with_columns(labels=pl.Series([[1], [1], [1], [1]])))
    with pytest.raises(StoreError, match="labels must be 0 or 1"):
        write_train(TRAIN.with_columns(labels=pl.Series([[1, 2], [1], [1], [1]])))
    with pytest.raises(StoreError, match="'candidates' must hold lists"):
        write_train(TRAIN.with_columns(candidates=pl.lit("a")))


@pytest.mark.parametrize("name", ["..", "a/b", "../x", "a..b", "", "sp ace", ".hidden"])
def test_r12_names_that_are_no_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="must consist of letters"):
        Column(name, "text")
    with pytest.raises(StoreError, match="must consist of letters"):
        TokenizerChoice(name, tmp_path)
    with pytest.raises(StoreError), StoreWriter(tmp_path / "store", {}) as writer:
        writer.items(ITEMS)
        writer.impressions(name, TRAIN)


def test_r12_the_store_itself(tmp_path: Path) -> None:
    for path in (Path(".."), tmp_path / "a..b", tmp_path / ".."):
        with pytest.raises(StoreError, match="may not hold"):
            StoreWriter(path, {})
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StoreError, match="a symbolic link"):
        StoreWriter(tmp_path / "link", {})
