"""Slices of whole runs: in the table, in `metrics.json` and in the values by group, for every ranking."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from legorec.recipes.inputs.store_data import open_data
from legorec.recipes.tower import slicings
from legorec.settings import SettingsError, read_command_line
from tests.support.runs import arguments, finish

SLICES = "{popularity: [4, 7, 1000], history: [3]}"
PARTS = {
    "popularity": ["0 to 3", "4 to 6", "7 to 999", "1000 and more"],
    "history": ["0 to 2", "3 and more"],
    "cold_items": ["cold", "known"],
    "cold_users": ["cold", "known"],
}


@pytest.fixture(scope="module")
def sliced(tmp_path_factory, store, done) -> tuple[Path, str]:
    """A test of the run ``done`` and what it printed."""
    runs = tmp_path_factory.mktemp("runs")
    return finish(arguments(store, runs, exp="test", load=done, slices=SLICES, save_ranking=True))


def test_every_ranking_is_reported_by_slices(sliced, done):
    found, plain = (json.loads((run / "metrics.json").read_text()) for run in (sliced, done))
    for report in (found["test"], *found["baselines"].values()):
        assert {name: list(parts) for name, parts in report["slices"].items()} == PARTS
        for parts in report["slices"].values():
            assert sum(part["clicks"] for part in parts.values()) == 24, "one click an impression"
            counts = [part["groups"] for part in report["slices"]["popularity"].values()]
            assert sum(part["groups"] for part in parts.values()) == 24
            mean = sum(part["groups"] * (part["metrics"]["gauc"] or 0) for part in parts.values()) / 24
            assert mean == pytest.approx(report["metrics"]["gauc"])
        empty = report["slices"]["popularity"]["1000 and more"]
        assert set(empty["metrics"].values()) == {None} and empty["groups"] == empty["rows"] == 0
        del report["slices"]
    assert found == plain, "all else is as without slices"
    assert all(count > 0 for count in counts[:-1]) and counts[-1] == 0


def test_the_values_by_group_have_a_column_a_part(sliced):
    table = pl.read_parquet(sliced / "test_per_group.parquet")
    report = json.loads((sliced / "metrics.json").read_text())["test"]
    assert len(table) == 24
    for name, value in report["metrics"].items():
        assert table[name].mean() == pytest.approx(value)
        for slicing, parts in report["slices"].items():
            for part, each in parts.items():
                column = f"{name} ({slicing} {part})"
                assert (column in table.columns) == (each["groups"] > 0)
                if column in table.columns:
                    values = table[column].drop_nulls()
                    assert len(values) == each["groups"] - each["skipped"][name]
                    assert values.mean() == pytest.approx(each["metrics"][name])


def test_the_table_shows_one_metric_and_says_how_many_groups(store, done, tmp_path, capsys):
    finish(arguments(store, tmp_path, exp="test", load=done, slices="{popularity: [1, 1000], history: []}"))
    out = capsys.readouterr().out
    assert "gauc by popularity" in out and "gauc by cold_users" in out and "by history" not in out
    table = out.split("gauc by popularity")[1].split("┌")[0].split("gauc by")[0].splitlines()
    last = {
        row[0]: row[-1] for line in table if len(row := [each.strip() for each in line.split("│")[1:-1]]) > 1
    }
    assert last["popularity"] == last["NRMS"] == "-" and last["groups by impression"] == "none"
    assert "skipped" not in last


def test_training_is_read_where_slices_count_it(store, tmp_path):
    flags = {"exp": "test", "load": tmp_path, "exp__baselines": "[]", "data__splits__train": "trian"}
    settings = read_command_line(arguments(store, tmp_path, slices="{}", **flags))
    data = open_data(settings)
    with pytest.raises(ValueError, match="there is no split 'trian'"):
        slicings(data, "test", settings)
    assert slicings(data, "test", read_command_line(arguments(store, tmp_path, **flags))) == []


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ("{popularity: [5, 1]}", "must rise, as in"),
        ("{history: [0, 5]}", "must be at least 1"),
        ("{popularty: [5]}", "popularity"),
        ("true", "must be a block"),
    ],
)
def test_wrong_slices_are_told(store, tmp_path, slices, message):
    with pytest.raises(SettingsError, match=message):
        read_command_line(arguments(store, tmp_path, slices=slices))
