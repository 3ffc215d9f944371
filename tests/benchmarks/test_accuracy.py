"""Tables over seeds from what runs leave behind, the slices' too."""

from __future__ import annotations

from typing import Any

from benchmarks.accuracy import slice_tables, table


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


def test_without_slices_there_is_no_table_of_them():
    assert slice_tables({"a": [result(0.6, 0.5, slices=False)]}) == ""
