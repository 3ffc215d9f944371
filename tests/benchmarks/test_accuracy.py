"""Tables over seeds from what runs leave behind, the slices' too."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from benchmarks.accuracy import main, slice_tables, table
from tests.support.runs import arguments


def report(gauc: float | None, skipped: int = 0, slices: dict[str, Any] | None = None) -> dict[str, Any]:
    found = {"metrics": {"gauc": gauc}, "groups": 1200 if gauc else 0, "skipped": {"gauc": skipped}}
    return found | ({"slices": slices} if slices else {})


def result(gauc: float, known: float, slices: bool = True) -> dict[str, Any]:
    def cut(value: float) -> dict[str, Any]:
        parts = {"cold_items": {"cold": report(None), "known": report(value, 200)}}
        return report(value, slices=parts if slices else None)

    own = report(gauc, slices={"cold_items": {"cold": report(None), "known": report(known, 200)}})
    return {"test": own if slices else report(gauc), "baselines": {"popularity": cut(0.5)}}


def test_slices_have_means_over_seeds_and_a_dash_where_nothing_is():
    runs = {"a": [result(0.6, 0.5), result(0.7, 0.7)]}
    assert slice_tables(runs).splitlines() == [
        "| gauc by cold_items | cold (0) | known (1,000) |",
        "|---|---:|---:|",
        "| a | - | 0.6000 ± 0.1414 |",
        "| popularity | - | 0.5000 |",
    ]
    assert table(runs).splitlines()[2:] == ["| a | 0.6500 ± 0.0707 |", "| popularity | 0.5000 |"]


def test_a_model_called_as_a_baseline_keeps_its_row():
    rows = slice_tables({"popularity": [result(0.6, 0.7)]}).splitlines()[2:]
    assert rows == ["| popularity | - | 0.7000 |", "| popularity | - | 0.5000 |"]


def test_without_slices_there_is_no_table_of_them():
    assert slice_tables({"a": [result(0.6, 0.5, slices=False)]}) == ""


def test_each_run_is_measured_once_more(store: Path, tmp_path: Path) -> None:
    """What is ranked among all items stands in a table of its own."""
    trained = shlex.join(arguments(store, tmp_path, epoch=1))
    then = "--exp config/exp/test.yaml --candidates full --exp.metrics [gauc,hit@10] --exp.baselines [random]"
    out = ["--out", str(tmp_path / "tables.md")]
    assert main(["--seed", "1", "--run", f"NRMS={trained}", "--then", then, *out]) == 0
    sampled, full = (tmp_path / "tables.md").read_text().strip().split("\n\n")
    assert "| NRMS |" in sampled and "hit@10" not in sampled
    assert full.startswith("| model | gauc | hit@10 |") and "| NRMS |" in full
    assert len(list(tmp_path.rglob("metrics.json"))) == 2
