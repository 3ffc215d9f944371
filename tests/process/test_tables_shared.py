"""``process/tables.py`` on real tables beside the repository: every last item left out, then a few steps."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from legorec.data.store import Store
from process.tables import main
from tests.support.raw_files import made, shared
from tests.support.runs import ROOT, SMALL, finish

NEGATIVES = 20
STEPS = 3


def read_histories(path: Path) -> list[list[str]]:
    """Raw ids of each user's items, read without the library; the rows are users in order of the file."""
    with path.open(newline="", encoding="utf-8") as file:
        return [row[1].split() for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def last_is_left_out(store: Store, histories: list[list[str]]) -> None:
    """Test holds each user's last item and dev the one before it, among items that the user never met."""
    ids = np.array(store.items.ids.take(np.arange(len(store.items))))
    for split, left in (("test", 1), ("dev", 2)):
        table = store.interactions(split)
        items = ids[table.candidates.values].reshape(-1, 1 + NEGATIVES)
        clicked = table.labels.reshape(items.shape) == 1
        assert (clicked.sum(axis=1) == 1).all()
        wanted = [user for user, items in enumerate(histories) if len(items) > left]
        assert list(table.user) == wanted
        for user, (start, stop), row, label in zip(
            wanted, store.spans[table.span], items, clicked, strict=True
        ):
            met = histories[user]
            assert row[label][0] == met[-left]
            assert ids[store.histories[start:stop]].tolist() == met[:-left]
            assert len(set(row)) == len(row) and not set(row[~label]) & set(met)


def trained(tmp_path: Path, model: str, *flags: str) -> dict[str, float]:
    """Test metrics after a few steps on the store."""
    small = SMALL | {"epoch": 1, "epoch_batch": STEPS, "eval_batch_size": 1024, "page_size": 1024}
    small.pop("heads")
    layers = {"model": f"model/{model}", "exp": "exp/tt-nrms"}
    given = {name: f"{ROOT}/config/{file}.yaml" for name, file in layers.items()}
    given |= {"data.store": str(tmp_path / "store"), "runs": str(tmp_path / "runs"), "device": "cpu"}
    given |= {name: str(value) for name, value in small.items()}
    folder = finish([*flags, *(part for name, value in given.items() for part in (f"--{name}", value))])
    result = json.loads((folder / "metrics.json").read_text())
    assert result["baselines"]["popularity"]["metrics"]["gauc"] > 0.7
    return result["test"]["metrics"]


@pytest.mark.slow
def test_goodreads(tmp_path: Path) -> None:
    source = shared("goodreads")
    store = made(
        main, tmp_path / "store", "--items", source / "books.tsv", "--item_id", "bid", "--text", "title",
        "--text", "description", "--histories", source / "histories.tsv", "--user", "uid",
        "--history", "history",
    )  # fmt: skip
    last_is_left_out(store, read_histories(source / "histories.tsv")[1:])
    metrics = trained(tmp_path, "lego_naml", "--data", f"{ROOT}/config/data/goodreads-description.yaml")
    assert 0 < metrics["gauc"] < 1


@pytest.mark.slow
def test_amazon_scientific(tmp_path: Path) -> None:
    source = shared("amazon-scientific")
    store = made(
        main, tmp_path / "store", "--no_header", "--items", source / "items.tsv", "--item_id", "1",
        "--text", "title=2", "--histories", source / "users.tsv", "--user", "1", "--history", "2",
    )  # fmt: skip
    assert (len(store.items), len(store.users)) == (20825, 12076)
    last_is_left_out(store, read_histories(source / "users.tsv"))
    data = ("--data", f"{ROOT}/config/data/amazon.yaml", "--category", "Scientific")
    metrics = trained(tmp_path, "lego_nrms", *data, "--data.fields", "{title@words: {max_length: 20}}")
    assert 0 < metrics["gauc"] < 1
