"""Filters in whole runs: said, kept to by training, metrics and predictions, noted by checkpoints."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import legorec
import worker
from legorec.data.store import Store
from legorec.recipes.inputs.digests import input_digests
from legorec.recipes.inputs.store_data import open_data
from legorec.settings import read_command_line
from tests.support.profiles import profile_arguments, write_profile_store
from tests.support.runs import differences, finish, only_run, refused

FILTERS = (
    "[{min_history: 1}, {user_field: region, without: [r0], splits: [train, test]}, "
    "{item_field: category, only: [c0, c1, c2], splits: [test]}]"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return write_profile_store(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def done(tmp_path_factory, store) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    return finish(profile_arguments(store, runs, data__filters=FILTERS, save_ranking=True, epoch=1))


def by_hand(path: Path, split: str) -> dict[int, list[str]]:
    """The kept candidates of each kept impression, by its number in the store."""
    store = Store.open(path)
    table, kept = store.interactions(split), {}
    regions, kinds = store.vocabulary("region"), store.vocabulary("category")
    for row in range(len(table)):
        start, stop = store.spans[table.span[row]]
        region = [regions[each] for each in store.users.field("region").rows[table.user[row]]]
        items = [
            store.items.ids[item]
            for item in table.candidates[row]
            if split != "test" or kinds[store.items.field("category").rows[item][0]] != "c3"
        ]
        if stop > start and items and (split == "dev" or region != ["r0"]):
            kept[row] = items
    return kept


def test_a_run_says_what_it_keeps_and_keeps_it(store, done):
    log = (done / "run.log").read_text()
    whole = {split: len(Store.open(store).interactions(split)) for split in ("train", "dev", "test")}
    for split, count in whole.items():
        kept = by_hand(store, split)
        assert 0 < len(kept) < count
        assert f"filters: {len(kept)} of {count} {split} impressions kept (min_history 1 takes " in log
    assert (
        "item_field category only c0, c1, c2 takes " in log and "candidates of the others are left out" in log
    )
    kept = by_hand(store, "test")
    found = json.loads((done / "metrics.json").read_text())["test"]
    assert found["rows"] == sum(len(items) for items in kept.values())
    groups = pl.read_parquet(done / "test_per_group.parquet")["impression"].to_list()
    assert set(groups) <= set(kept), "groups have the numbers of the store"


def test_training_sees_only_what_is_kept(store, tmp_path):
    settings = read_command_line(profile_arguments(store, tmp_path, data__filters=FILTERS))
    data = open_data(settings, ["train"])
    assert data.training.interactions.numbers.tolist() == list(by_hand(store, "train"))
    assert data.training.known.counts().sum() < data.training.never_drawn.keys.size
    assert len(data.filtered) == 1, "no other split was read"


@pytest.mark.parametrize("flags", [{}, {"top_k": 3}], ids=["candidates", "top_k"])
def test_predictions_are_of_what_is_kept(store, done, tmp_path, flags):
    run = finish(profile_arguments(store, tmp_path, "predict", data__filters=FILTERS, load=done, **flags))
    table, kept = pl.read_parquet(run / "predictions.parquet"), by_hand(store, "test")
    assert "test impressions kept" in (run / "run.log").read_text()
    shown = Store.open(store).interactions("test")
    users = Store.open(store).users.ids.take(shown.user[list(kept)])
    assert set(table["user"]) == set(users)
    if not flags:
        rows = zip(table["impression"], table["item"], strict=True)
        assert list(rows) == [(row, item) for row, items in kept.items() for item in items]


def test_what_keeps_nothing_is_refused_by_name(store, done, tmp_path, capsys):
    def said(filters: str, *messages: str, **flags) -> None:
        refused(
            profile_arguments(store, tmp_path / "runs", data__filters=filters, **flags), capsys, *messages
        )
        assert not (tmp_path / "runs").exists(), "refused before a folder is made"

    said("[{min_history: 99, splits: [dev]}]", "`data.filters` keep no impression of", "split 'dev'", "0 of ")
    said(
        "[{max_history: 1}, {item_field: price, at_least: 1e9}]",
        "item_field price at_least 1e+09 takes",
    )
    said("[{user_field: regoin, only: [r0]}]", "there is no field 'regoin'; did you mean 'region'?")
    filters = {"data__filters": "[{min_history: 1}]"}
    argv = profile_arguments(store, tmp_path / "runs", "submit-mind", **filters, load=done)
    refused(argv, capsys, "`data.filters` must be empty where exp.predict.format is 'mind'")


def test_checkpoints_note_what_the_filters_read(store, tmp_path):
    (tmp_path / "some.txt").write_text("u3\nu4\nu5\nu6\nu7\n")
    only_tested = "{user_field: region, only: [r1], splits: [test]}"
    filters = f"[{{users: {tmp_path}/some.txt, splits: [train]}}, {only_tested}]"

    def noted() -> dict[str, str]:
        settings = read_command_line(profile_arguments(store, tmp_path, data__filters=filters))
        return input_digests(settings, open_data(settings))

    one = noted()
    assert {name for name in one if name.startswith("filters/")} == {
        f"filters/{tmp_path.as_posix()}/some.txt",
        "filters/users/ids.safetensors",
    }, "what is only tested is not learned from"
    (tmp_path / "some.txt").write_text("u3\n")
    other = noted()
    assert {name for name in one if one[name] != other[name]} == {f"filters/{tmp_path.as_posix()}/some.txt"}


@pytest.mark.slow
def test_r1_a_filtered_run_is_resumed_exactly_or_refused(store, tmp_path, monkeypatch, capsys):
    (tmp_path / "some.txt").write_text("".join(f"u{user}\n" for user in range(1, 15)))
    flags = {
        "data__filters": f"[{{min_history: 1}}, {{users: {tmp_path}/some.txt}}]",
        "batch_size": 4,
        "save_every": 2,
    }
    straight = finish(profile_arguments(store, tmp_path / "straight", **flags))
    steps, before = [], torch.optim.AdamW.step

    def signalled(self, *given, **named):
        steps.append(1)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return before(self, *given, **named)

    argv = profile_arguments(store, tmp_path / "cut", **flags)
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", signalled)
        assert worker.main(argv) != 0
    (tmp_path / "some.txt").write_text("u1\nu2\nu3\nu4\nu5\nu6\nu7\nu8\n")
    refused([*argv, "--resume", "true"], capsys, "some.txt")
    (tmp_path / "some.txt").write_text("".join(f"u{user}\n" for user in range(1, 15)))
    assert worker.main([*argv, "--resume", "true"]) == 0
    assert differences(straight, only_run(tmp_path / "cut")) == []
    (tmp_path / "some.txt").unlink()
    assert len(legorec.load(straight, device="cpu").recommend([], 3)) == 3, "no impression is read"
    assert np.isfinite(json.loads((straight / "metrics.json").read_text())["test"]["metrics"]["gauc"])
