"""Several stores as one: every impression as it was, each item with its domain, splits of all and of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from legorec.data.store import Store
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter
from process.join import main
from tests.support.prompted import marked_store
from tests.support.raw_files import candidates, history, made, refusal
from tests.support.runs import write_store

SPLITS = ("train", "dev", "test")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    folder = tmp_path_factory.mktemp("parts")
    return {name: marked_store(folder / name, seed, 9, 3) for seed, name in enumerate(("movie", "game"))}


@pytest.fixture(scope="module")
def both(parts: dict[str, Store], tmp_path_factory: pytest.TempPathFactory) -> Store:
    return made(main, tmp_path_factory.mktemp("joined") / "store", *named(parts), "--shots", 2, 5)


def named(parts: dict[str, Store]) -> list[str]:
    return [word for name, store in parts.items() for word in ("--store", f"{name}={store.path}")]


def shown(store: Store, split: str, row: int, prefix: str = "") -> Any:
    """Who was asked, after which clicks with which marks, about what, and the label."""
    span = store.spans[store.interactions(split).span[row]]
    marks = [store.mark_names[mark] for mark in store.marks[slice(*span)]] if store.marks is not None else []
    clicks = [prefix + each for each in history(store, split, row)]
    about = {prefix + item: label for item, label in candidates(store, split, row).items()}
    return prefix + store.users.ids[int(store.interactions(split).user[row])], clicks, marks, about


def rows(store: Store, split: str, prefix: str = "") -> list[Any]:
    return [shown(store, split, row, prefix) for row in range(len(store.interactions(split)))]


def test_every_impression_is_there_as_it_was(parts: dict[str, Store], both: Store) -> None:
    for split in SPLITS:
        own = {name: rows(store, split, f"{name}:") for name, store in parts.items()}
        assert rows(both, split) == own["movie"] + own["game"]
        assert all(rows(both, f"{split}-{name}") == each for name, each in own.items())


def test_every_item_has_its_fields_and_its_domain(parts: dict[str, Store], both: Store) -> None:
    names = both.vocabulary("domain")
    domain = [names[row[0]] for row in both.items.field("domain").rows]
    count = len(parts["movie"].items)
    assert domain == ["movie"] * count + ["game"] * len(parts["game"].items)
    assert both.items.text("name").take([3, count + 3]) == parts["movie"].items.text("name").take([3, 3])


def test_shots_are_of_each_domain_and_a_few_are_among_more(both: Store) -> None:
    found = {split: rows(both, split) for split in both.splits}
    for size in (2, 5):
        own = [found[f"train-{size}-{name}"] for name in ("movie", "game")]
        assert [len(each) for each in own] == [size, size] and found[f"train-{size}"] == own[0] + own[1]
        for name, each in zip(("movie", "game"), own, strict=True):
            assert all(row in found[f"train-{name}"] for row in each)
    assert all(row in found["train-5"] for row in found["train-2"])


def test_stores_without_marks_are_joined_too(tmp_path: Path) -> None:
    """Their histories may be several stretches of a user, and some are empty."""
    parts = {name: Store.open(write_store(tmp_path / name, seed)) for seed, name in enumerate(("a", "b"))}
    joined = made(main, tmp_path / "joined", *named(parts))
    assert joined.marks is None and joined.items.field_names[-1] == "domain"
    for split in SPLITS:
        own = [rows(each, split, f"{name}:") for name, each in parts.items()]
        assert rows(joined, split) == own[0] + own[1]
    for name in ("category", "subcategory"):
        assert len(joined.vocabulary(name)) >= len(parts["a"].vocabulary(name))


def numbered(path: Path) -> Store:
    """A store whose field `title` is a number."""
    with StoreWriter(path, {"processor": "numbered"}) as writer:
        writer.items(pl.DataFrame({"id": ["x"], "title": [1.0]}), [Column("title", "number")])
        frame = {"user": ["u"], "history": [["x"]], "candidates": [["x"]], "labels": [[1]]}
        writer.impressions("train", pl.DataFrame(frame))
    return Store.open(path)


def test_what_does_not_go_together_is_refused(
    parts: dict[str, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", tmp_path / "out"]
    movie, other = parts["movie"], Store.open(write_store(tmp_path / "other"))
    unlabelled = Store.open(write_store(tmp_path / "bare", labelled=False))
    for given, message in (
        (named({"movie": movie}), "--store must be given twice at least"),
        ([*named({"movie": movie})] * 2, "each with a domain of its own"),
        ([*named(parts), "--shots", 0], "--shots must be at least 1, got 0"),
        ([*named(parts), "--shots", 1000], "--shots 1000 of its 27 impressions"),
        (named({"movie": movie, "other": other}), "its clicks have no marks, those of others have"),
        (named({"a": other, "b": numbered(tmp_path / "n")}), "'title' is a number, and a text in"),
        (named({"a": other, "b": unlabelled}), "the labels of 'test' are not known"),
    ):
        assert message in refusal(main, [*given, *out], capsys)
    assert not (tmp_path / "out").exists()
    assert np.isin(SPLITS, movie.splits).all()
