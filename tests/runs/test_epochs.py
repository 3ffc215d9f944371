"""The best epochs of a run are kept, and each can be loaded, measured, predicted and exported."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

import legorec
from legorec.engine import checkpoint
from legorec.engine.run_folder import best_checkpoint, kept_epochs
from legorec.engine.training import TrainingState
from legorec.settings import read_command_line
from tests.support.runs import arguments, finish, only_run, refused

EPOCHS = 5


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    """A run of five epochs, of which the best three are kept, and the last."""
    flags = {"epoch": EPOCHS, "patience": 9, "keep_epochs": 3, "batch_size": 16}
    return finish(arguments(store, tmp_path_factory.mktemp("runs"), **flags))


def values(run) -> list[float]:
    """What judged each epoch."""
    return [float(row["gauc"]) for row in csv.DictReader((run / "epochs.csv").open())]


def test_the_best_epochs_and_the_last_are_kept(run):
    best, kept = kept_epochs(run)
    order = sorted(range(EPOCHS), key=lambda epoch: -values(run)[epoch])
    assert best == order[0] and list(kept) == sorted({*order[:3], EPOCHS - 1})
    assert {path.name for path in checkpoint.complete(run / "checkpoints")} == {
        path.name for path in kept.values()
    }
    said = f"kept epochs {', '.join(map(str, kept))}: "
    assert said in (run / "run.log").read_text()
    assert best_checkpoint(run) == kept[best]


@pytest.mark.slow
def test_each_can_be_measured_and_loaded(run, store, tmp_path):
    best, kept = kept_epochs(run)
    scores = {}
    for epoch in kept:
        again = finish(arguments(store, tmp_path / str(epoch), exp="dev", load=run, epoch=epoch))
        metrics = json.loads((again / "metrics.json").read_text())
        assert metrics["dev"]["metrics"]["gauc"] == pytest.approx(values(run)[epoch], abs=1e-9)
        loaded = legorec.load(run, device="cpu", epoch=epoch)
        ids = loaded.data.store.items.ids.series().to_list()[:6]
        scores[epoch] = loaded.score(ids[:2], ids)
        assert np.array_equal(legorec.load(again, device="cpu").score(ids[:2], ids), scores[epoch])
        saved = checkpoint.load(kept[epoch]).tensors["weights"]
        assert all(torch.equal(saved[name], value) for name, value in loaded.model.named_parameters())
    assert len({each.tobytes() for each in scores.values()}) == len(kept)
    assert np.array_equal(legorec.load(run, device="cpu").score(ids[:2], ids), scores[best])


@pytest.mark.parametrize("exp", ["predict", pytest.param("export", marks=pytest.mark.slow)])
def test_files_are_of_the_epoch_that_is_named(run, store, tmp_path, exp):
    found = [
        finish(arguments(store, tmp_path / str(epoch), exp=exp, load=run, epoch=epoch))
        for epoch in list(kept_epochs(run)[1])[:2]
    ]
    name = {"predict": "predictions.parquet", "export": "items.safetensors"}[exp]
    assert (found[0] / name).read_bytes() != (found[1] / name).read_bytes()


def test_what_is_not_kept_is_answered_with_what_is(run, store, tmp_path, capsys):
    best, kept = kept_epochs(run)
    lost = next(epoch for epoch in range(EPOCHS + 1) if epoch not in kept)
    there = ", ".join(f"{each} (the best)" if each == best else str(each) for each in kept)
    said = (f"keeps no checkpoint of epoch {lost}", f"it keeps {there}", "--keep_epochs N")
    refused(arguments(store, tmp_path, exp="test", load=run, epoch=lost), capsys, *said)
    with pytest.raises(ValueError, match=f"keeps no checkpoint of epoch {lost}"):
        legorec.load(run, epoch=lost)
    refused(
        arguments(store, tmp_path, exp="latency", epoch=1), capsys, "exp.load_epoch", "with exp.load only"
    )


def test_one_is_kept_by_default_under_the_name_that_the_run_had(store, tmp_path):
    argv = arguments(store, tmp_path, epoch=3, patience=9)
    assert read_command_line(argv).digest() == read_command_line([*argv, "--keep_epochs", "1"]).digest()
    assert read_command_line(argv).digest() != read_command_line([*argv, "--keep_epochs", "2"]).digest()
    finish(argv)
    best, kept = kept_epochs(only_run(tmp_path))
    assert set(kept) == {best, 2}


def test_a_state_from_before_goes_on():
    """It has a best epoch and no list."""
    state = TrainingState(best={"epoch": 0, "value": 0.5, "checkpoint": "batch-0000000001-measured"})
    for epoch, value in ((1, 0.4), (2, 0.6), (3, 0.5)):
        state.progress.epoch = epoch
        state.note({"epoch": epoch}, value, 3)
    assert [each["epoch"] for each in state.kept] == [2, 0, 3]
    assert state.best["epoch"] == 2 and state.without_gain == 1
