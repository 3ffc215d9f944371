"""The worker from its command line: what a run leaves behind, and what it does with what is there."""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

import worker
from legorec.engine import checkpoint
from legorec.engine.run_folder import RunFolder
from tests.support.runs import ROOT, arguments, contents, differences, finish, refused, run_folders

METRICS = ["gauc", "mrr", "ndcg@5", "ndcg@10"]


def test_a_run_leaves_settings_log_epochs_metrics_and_checkpoints(store, tmp_path, capsys):
    run = finish(arguments(store, tmp_path))
    out, err = capsys.readouterr()
    left = {path.name for path in run.iterdir()}
    assert left == {".lock", "settings.yaml", "run.log", "epochs.csv", "metrics.json", "checkpoints"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert list(metrics) == ["test", "baselines", "trainable_parameters"]
    assert list(metrics["baselines"]) == ["random", "popularity", "cosine_tfidf", "item_knn"]
    assert "no baseline most_recent: " in out and "holds no times" in out
    for report in (metrics["test"], *metrics["baselines"].values()):
        assert list(report["metrics"]) == METRICS
        assert report["group_by"] == "impression" and report["groups"] == 24
    rows = list(csv.DictReader(open(run / "epochs.csv", newline="")))
    assert [row["epoch"] for row in rows] == ["0", "1"] and list(rows[0]) == ["epoch", "loss", *METRICS]
    log = (run / "run.log").read_text()
    assert "epoch 1  loss" in log and log.rstrip().endswith(f"wrote {run / 'metrics.json'}")
    for shown in ("NRMS", "popularity", "mean by impression: 24 groups, 0 skipped", "epoch 0"):
        assert shown in out
    assert err == "" and "\x1b" not in out  # no bars and no colours without a terminal
    assert all((path / "manifest.json").is_file() for path in (run / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("exp", "measured"),
    [pytest.param("train", "dev", marks=pytest.mark.slow), ("dev", "dev"), ("test", "test")],
)
def test_every_mode_measures_its_split(store, done, tmp_path, exp, measured):
    flags = {} if exp == "train" else {"load": done}
    run = finish(arguments(store, tmp_path, exp=exp, **flags))
    found = json.loads((run / "metrics.json").read_text())
    assert list(found) == [measured, "baselines", "trainable_parameters"]
    if exp == "test":
        assert found == json.loads((done / "metrics.json").read_text())


def test_a_finished_folder_is_not_overwritten_unasked(store, copy, capsys):
    before, argv = contents(copy), arguments(store, copy.parents[2])
    refused(argv, capsys, "is finished", "--overwrite true", "--seed")
    refused([*argv, "--resume", "true"], capsys, "is finished")
    refused([*argv, "--resume", "true", "--overwrite", "true"], capsys, "exclude each other")
    assert contents(copy) == before
    (copy / "checkpoints" / "left over").write_text("x")
    assert worker.main([*argv, "--overwrite", "true"]) == 0
    after = contents(copy)
    assert set(after) == set(before)
    # The copy lies elsewhere, from where its relative paths begin at another place.
    assert {name for name in after if after[name] != before[name]} <= {"run.log", "settings.yaml"}
    assert settings_in(after) == settings_in(before)


def settings_in(folder: dict[str, bytes]) -> dict[str, object]:
    """Without the place that they were made in."""
    return {key: value for key, value in yaml.safe_load(folder["settings.yaml"]).items() if key != "made_in"}


def test_r20_the_same_seed_gives_the_same_bytes(store, done, tmp_path):
    again = finish(arguments(store, tmp_path))
    assert again.name == done.name
    assert differences(done, again) == []
    mine, theirs = contents(done), contents(again)
    assert {name for name in mine if mine[name] != theirs[name]} <= {"run.log"}


@pytest.mark.slow
def test_different_settings_never_share_a_folder(store, tmp_path):
    for flags in ({}, {"seed": 1}, {"lr": 2e-3}, {"seed": 1, "lr": 2e-3}, {"exp__metrics": "[gauc]"}):
        assert worker.main(arguments(store, tmp_path, epoch=1, **flags)) == 0
    folders = run_folders(tmp_path)
    assert len(folders) == 5
    weights = {contents(folder / "checkpoints")[_weights(folder)] for folder in folders}
    assert len(weights) == 4  # other metrics, same weights


def _weights(folder: Path) -> str:
    return f"{checkpoint.complete(folder / 'checkpoints')[-1].name}/weights.safetensors"


def test_saved_settings_run_again_to_the_same_digest(done, tmp_path):
    again = finish(["--settings", str(done / "settings.yaml"), "--runs", str(tmp_path), "--device", "cpu"])
    assert again.name == done.name
    assert differences(done, again) == []


def test_an_unfinished_folder_wants_a_word(store, copy, capsys, done):
    argv = arguments(store, copy.parents[2])
    (copy / "metrics.json").unlink()
    (copy / "epochs.csv").unlink()  # as if killed between the checkpoint and the table
    refused(argv, capsys, "was stopped before its end", "--resume true", "--overwrite true")
    assert worker.main([*argv, "--resume", "true"]) == 0
    assert differences(done, copy) == []


def test_a_folder_in_use_is_refused(store, copy, capsys):
    (copy / "metrics.json").unlink()
    with RunFolder(copy, resume=True):
        refused(
            [*arguments(store, copy.parents[2]), "--resume", "true"], capsys, "another process is running"
        )


def test_the_best_epoch_may_be_chosen_by_a_metric_that_is_not_reported(store, tmp_path):
    run = finish(arguments(store, tmp_path, exp__evaluation__metric="logloss"))
    rows = list(csv.DictReader(open(run / "epochs.csv", newline="")))
    best = min(range(2), key=lambda epoch: float(rows[epoch]["logloss"]))
    assert checkpoint.read_state(checkpoint.complete(run / "checkpoints")[-1])["best"]["epoch"] == best
    assert list(json.loads((run / "metrics.json").read_text())["test"]["metrics"]) == METRICS


def test_options_of_training_and_evaluation_run(store, tmp_path):
    flags = {"simple_dev": True, "precision": "bf16", "save_ranking": True, "fast_eval": False, "warmup": 3}
    run = finish(arguments(store, tmp_path, clip_norm=1.0, epoch_batch=-2, acc_batch=2, **flags))
    assert "dev_loss" in (run / "epochs.csv").read_text()
    groups = pl.read_parquet(run / "test_per_group.parquet")
    assert groups.columns == ["impression", *METRICS] and len(groups) == 24


def test_flags_that_did_nothing_are_told(store, tmp_path, capsys):
    argv = arguments(store, tmp_path, epoch=1, exp__accepts="[llm_ver]", llm_ver="3b")
    assert worker.main(argv) == 0
    assert "--llm_ver did nothing: tt-nrms takes it and does not need it" in capsys.readouterr().err


def test_help_and_dry_run_print_and_write_nothing(store, tmp_path, capsys):
    argv = arguments(store, tmp_path / "runs")
    assert worker.main([*argv, "--help"]) == 0
    assert "--hidden_size" in capsys.readouterr().out
    assert worker.main([*argv, "--dry_run", "true"]) == 0
    out = capsys.readouterr().out
    assert "exp.policy.lr" in out and "command line --hidden_size" in out
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_before_the_run_has_begun(store, tmp_path, capsys, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("legorec.recipes.tower.open_data", interrupted)
    assert worker.main(arguments(store, tmp_path / "runs")) == 130
    assert capsys.readouterr().err == "stopped; nothing is half-written\n"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("flag", "status"), [("--hiden_size", 2), ("--dry_run", 0), ("--help", 0)])
def test_what_needs_no_torch_is_answered_within_a_second(store, tmp_path, flag, status):
    code = "import sys, worker; print(worker.main(sys.argv[1:]), sorted(sys.modules))"
    argv = [*arguments(store, tmp_path), flag, "true"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], cwd=ROOT, env=os.environ, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer, modules = done.stdout.splitlines()[-1].split(" ", 1)
    assert int(answer) == status
    assert not any(f"'{heavy}'" in modules for heavy in ("torch", "transformers", "polars", "pandas"))
    # Processor time, not the clock's: the machine may be busy with other tests.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
