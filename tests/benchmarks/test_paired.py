"""Paired tests over the saved values of finished runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.paired import main, page
from legorec.significance import compare_values

SLICE = "gauc (popularity 1 to 4)"


def write(folder: Path, values: np.ndarray) -> None:
    folder.mkdir(parents=True)
    frame = pl.DataFrame({"impression": np.arange(len(values)), "gauc": values, SLICE: values / 2})
    frame.write_parquet(folder / "test_per_group.parquet")
    (folder / "metrics.json").write_text("{}")


def test_seeds_are_averaged_and_groups_paired(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 50)), rng.random((2, 50)) + 0.1
    first[:, 40:] = second[:, 40:] = np.nan  # groups that are not in a slice
    for name, runs in (("a", first), ("b", second)):
        for seed, values in enumerate(runs):
            write(tmp_path / name / f"seed{seed}", values)
    text = page({name: f"{tmp_path / name}/seed*" for name in "ab"}, "gauc", "test")
    wanted = compare_values(first[:, :40].mean(0), second[:, :40].mean(0), "gauc")
    assert f"| a | 2 | {first[:, :40].mean():.4f} | {wanted.difference:+.4f} |" in text
    assert f"| {wanted.p_value:.2g} |" in text and f"| b | 2 | {second[:, :40].mean():.4f} |" in text


def test_a_slice_is_paired_as_its_metric(tmp_path: Path) -> None:
    for name, shift in (("a", 0.0), ("b", 0.2)):
        write(tmp_path / name / "seed1", np.arange(20) / 40 + shift)
    text = page({name: f"{tmp_path / name}/seed*" for name in "ab"}, SLICE, "test")
    assert f"| {SLICE} of test |" in text and "| +0.1000 |" in text


def test_what_cannot_be_paired_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, count in (("a", 5), ("b", 6)):
        write(tmp_path / name / "seed1", np.arange(count) / 10)
    assert main([f"a={tmp_path}/a/*", f"b={tmp_path}/b/*"]) == 2
    assert "a and b rank different groups" in capsys.readouterr().err
    assert main([f"a={tmp_path}/none*"]) == 2
    assert "no finished run is called" in capsys.readouterr().err
    (tmp_path / "a" / "seed1" / "test_per_group.parquet").unlink()
    assert main([f"a={tmp_path}/a/*"]) == 2
    assert "--save_ranking true" in capsys.readouterr().err
