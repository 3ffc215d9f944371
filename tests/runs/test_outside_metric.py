"""A metric of one's own in a run, and in its saved settings."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import polars as pl
import pytest

import worker
from tests.support.launching import one_thread
from tests.support.runs import arguments, finish, refused, write_store

NUMBERS = count()
CODE = """
def hits(labels, k):
    return labels[:k].sum()


class Depth:
    higher_is_better = False

    def __call__(self, labels):
        return int(labels.argmax())
"""


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = f"run_lab_{next(NUMBERS)}"
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / f"{name}.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path / "lab"))
    yield name
    sys.modules.pop(name, None)


def test_it_is_measured_saved_sliced_and_chooses_the_epoch(
    lab: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = write_store(tmp_path / "store")
    names = f"[hit@2, {lab}.hits@2, {lab}.Depth]"
    own = {"exp__evaluation__metric": f"{lab}.Depth", "save_ranking": True, "slices": "{}"}
    run = finish(arguments(store, tmp_path / "runs", exp__metrics=names, **own))
    found = json.loads((run / "metrics.json").read_text())
    for report in (found["test"], *found["baselines"].values()):
        # One click an impression: the expected number within 2 is the probability that it is there.
        assert report["metrics"][f"{lab}.hits@2"] == pytest.approx(report["metrics"]["hit@2"])
        assert f"{lab}.Depth" in report["slices"]["popularity"]["0"]["metrics"]
    saved = pl.read_parquet(run / "test_per_group.parquet")
    assert saved[f"{lab}.Depth"].mean() == pytest.approx(found["test"]["metrics"][f"{lab}.Depth"])
    epochs = pl.read_csv(run / "epochs.csv")[f"{lab}.Depth"]
    marked = (run / "run.log").read_text().split("  *")[:-1]
    assert f"{lab}.Depth {epochs.min():.4f}" in marked[-1].splitlines()[-1]

    settings = ["--settings", str(run / "settings.yaml"), "--runs", str(tmp_path / "again")]
    message = f"'{lab}.Depth' is code from outside legorec"
    sys.modules.pop(lab)
    refused(settings, capsys, message, "exp.evaluation.metric", f"--allow {lab}")
    assert lab not in sys.modules
    refused([*settings, "--allow", "other_lab"], capsys, message)
    assert worker.main([*settings, "--allow", lab]) == 0
    shutil.rmtree(tmp_path / "lab")
    named = [*settings, "--exp.metrics", "[gauc]", "--exp.evaluation.metric", "gauc", "--dry_run", "true"]
    assert worker.main(named) == 0  # named by hand is not saved


def test_a_sum_of_metrics_chooses_the_epoch(
    lab: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is measured, the epoch with the largest sum is the best, and a saved one brings no code in."""
    store = write_store(tmp_path / "store")
    named = {"exp__metrics": "[gauc]", "exp__evaluation__metric": f"recall@1+{lab}.hits@2", "epoch": 4}
    run = finish(arguments(store, tmp_path / "runs", **named))
    epochs = pl.read_csv(run / "epochs.csv")
    assert epochs.columns == ["epoch", "loss", "gauc", "recall@1", f"{lab}.hits@2"] and len(epochs) > 1
    total = (epochs["recall@1"] + epochs[f"{lab}.hits@2"]).to_list()
    marked = (run / "run.log").read_text().split("  *")[:-1]  # the last mark is the best epoch's
    assert f"epoch {total.index(max(total))} " in marked[-1].splitlines()[-1]
    sys.modules.pop(lab)
    settings = ["--settings", str(run / "settings.yaml"), "--runs", str(tmp_path / "again")]
    refused(settings, capsys, f"'{lab}.hits' is code from outside legorec", f"--allow {lab}")


def test_a_wrong_one_is_told_in_one_line(
    lab: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = write_store(tmp_path / "store")
    for name, message in ((f"{lab}.hit", "did you mean 'hits'?"), ("nowhere.hits", "no module 'nowhere'")):
        refused(
            arguments(store, tmp_path / "runs", exp__metrics=f"[{name}@3]"), capsys, "exp.metrics", message
        )
