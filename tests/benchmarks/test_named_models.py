"""The table of all named models: every one has a row with as many cells as the heads, also where it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import named_models


def test_every_model_is_measured_twice_and_a_failure_has_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def measured(argv: list[str], again: bool) -> dict[str, Any]:
        asked.append(argv)
        if any("lego_din_id" in part for part in argv):
            raise ValueError("no store\nis there")
        value = 0.25 if "--load" in argv else 0.75
        metrics = dict.fromkeys((*named_models.METRICS, *named_models.OF_ALL), value)
        report = {"metrics": metrics}
        return {"test": report, "baselines": {"popularity": report}, "trainable_parameters": 1234} | (
            {} if "--load" in argv else {"seconds": 3.2}
        )

    monkeypatch.setattr(named_models, "measured", measured)
    monkeypatch.setattr(named_models, "once_more", lambda own, then: [*own, "--load", "run", *then])
    out = tmp_path / "table.md"
    argv = ["--part", "words", "--only", "lego_d*_id", "--out", str(out)]
    assert named_models.main(argv) == 1  # one failed
    heads, ruler, *rows = out.read_text().splitlines()
    assert len({line.count("|") for line in (heads, ruler, *rows)}) == 1
    by_name = {row.split(" | ")[0].strip("| "): row for row in rows}
    assert set(by_name) == {"lego_dcn_id", "lego_dcnv2_id", "lego_deepfm_id", "lego_din_id", "popularity"}
    measured_cells = ["0.7500"] * 4 + ["0.2500"] * 4
    assert by_name["lego_dcn_id"] == f"| lego_dcn_id | {' | '.join([*measured_cells, '3', '1,234'])} |"
    assert by_name["popularity"] == f"| popularity | {' | '.join(measured_cells)} |  |  |"
    assert "failed: no store is there" in by_name["lego_din_id"]
    assert not any("--lr" in argv for argv in asked)  # each as it suggests
    assert sum("full" in argv for argv in asked) == 3
