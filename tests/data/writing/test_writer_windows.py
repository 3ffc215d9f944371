"""Impressions given as rows, whose histories are windows of their users' clicks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from legorec.data.ragged import Ragged
from legorec.data.store import Store, StoreError
from legorec.data.writing.writer import StoreWriter
from tests.support.small_store import ITEMS, files


def test_windows_store_a_sequence_once(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", {}) as writer:
        writer.items(ITEMS)
        writer.users(pl.DataFrame({"id": ["u", "v"]}))
        writer.sequences(Ragged.from_lists([[0, 1, 2, 3], [4]]))
        user, start, stop = np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([2, 3, 0])
        writer.windows("train", user, start, stop, Ragged.from_lists([[2], [3], [4]]), np.ones(3, np.uint8))
    store = Store.open(tmp_path / "store")
    spans = store.spans[store.interactions("train").span]
    assert [store.histories[a:b].tolist() for a, b in spans] == [[0, 1], [1, 2], []]
    assert store.histories.tolist() == [0, 1, 2], "what no impression sees is not stored"


def test_windows_have_ids_and_unknown_labels(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", {}) as writer:
        writer.items(ITEMS)
        writer.users(pl.DataFrame({"id": ["u"]}))
        writer.sequences(Ragged.from_lists([[0, 1]]))
        window = np.array([0, -1, 0]), np.zeros(3, np.int64), np.array([1, 2, 2])
        shown = Ragged.from_lists([[2], [3], [4]])
        writer.windows("test", *window, shown, None, ids=pl.Series([7, 8, 9]))
    test = Store.open(tmp_path / "store").interactions("test")
    assert list(test.ids) == ["7", "9"] and not test.labelled and test.labels.tolist() == [0, 0]
    assert test.time is None


def test_sequences_in_parts_equal_the_whole(tmp_path: Path) -> None:
    clicks = Ragged.from_lists([[0, 1, 2], [], [4, 4], [3]])
    for name, parts in (("whole", clicks), ("parts", (clicks.take([n]) for n in range(4)))):
        with StoreWriter(tmp_path / name, {}) as writer:
            writer.items(ITEMS)
            writer.users(pl.DataFrame({"id": list("abcd")}))
            writer.sequences(parts)
            user = np.array([3, 0, 2, 1])
            shown = Ragged.from_lists([[0]] * 4)
            writer.windows("train", user, np.zeros(4, int), clicks.lengths[user], shown, np.ones(4, np.uint8))
    assert files(tmp_path / "whole") == files(tmp_path / "parts")
    with (
        pytest.raises(StoreError, match=r"needs one row per user \(4\), got 3"),
        StoreWriter(tmp_path / "few", {}) as writer,
    ):
        writer.users(pl.DataFrame({"id": list("abcd")}))
        writer.sequences(clicks.take([0, 1, 2]))
