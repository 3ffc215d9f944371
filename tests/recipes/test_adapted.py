"""A language model adapted to texts from settings: trained, resumed, and left as a checkpoint."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import worker
from legorec.engine import checkpoint
from legorec.lm.pretrained import find_pretrained
from tests.faults.test_resume import send_at
from tests.support.launching import one_thread, shared
from tests.support.runs import differences, finish, only_run, refused
from tests.support.texts import text_model, text_store, texts


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_model(tmp_path_factory.mktemp("models") / "tiny").folder


@pytest.fixture(scope="module")
def store(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_store(tmp_path_factory.mktemp("data") / "store", model)


@pytest.fixture(scope="module")
def straight(model: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left alone."""
    return finish(texts(store, tmp_path_factory.mktemp("runs"), "cela-adapted", model, lr=1e-2, item_lr=1e-2))


def test_both_terms_fall_and_a_checkpoint_is_left(straight: Path, model: Path) -> None:
    first, last = (row.split(",") for row in (straight / "epochs.csv").read_text().splitlines()[1:])
    head = (straight / "epochs.csv").read_text().splitlines()[0].split(",")
    assert head == ["epoch", "loss", "mlm", "simcse", "dev_loss"]
    assert float(last[2]) < float(first[2])
    best = min(float(first[4]), float(last[4]))
    metrics = json.loads((straight / "metrics.json").read_text())
    assert metrics["dev"]["loss"] == pytest.approx(best, abs=1e-4)
    left = find_pretrained(str(straight / "language_model"))
    base = find_pretrained(str(model))
    manifest = json.loads((straight / "language_model/manifest.json").read_text())
    assert left.digest() != base.digest() == manifest["base"]["digest"]
    assert manifest["texts"]["template"] == "[CLS] {title:20} [SEP]"


def test_r1_stopped_and_resumed_equals_straight(
    straight: Path, model: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = texts(store, tmp_path, "cela-adapted", model, lr=1e-2, item_lr=1e-2)
    with monkeypatch.context() as patch:
        send_at(patch, signal.SIGINT, 3)
        assert worker.main(argv) == 128 + signal.SIGINT
    assert worker.main([*argv, "--resume", "true"]) == 0
    assert differences(straight, only_run(tmp_path)) == []


def test_judging_by_a_ranking_is_refused(store: Path, model: Path, tmp_path: Path, capsys) -> None:
    argv = texts(store, tmp_path, "cela-adapted", model, exp__policy__simple_dev=False)
    refused(argv, capsys, "has nothing to rank", "--simple_dev true")


def test_a_model_without_a_mask_is_refused(store: Path, tmp_path: Path, capsys) -> None:
    llama = text_model(tmp_path / "llama", "llama").folder
    refused(texts(store, tmp_path / "runs", "cela-adapted", llama), capsys, "none of its tokenizations")


@pytest.mark.slow
def test_r16_two_processes_train_what_one_does(
    straight: Path, model: Path, store: Path, tmp_path: Path
) -> None:
    argv = texts(store, tmp_path, "cela-adapted", model, lr=1e-2, item_lr=1e-2)
    status, out = shared(2, argv)
    assert status == 0, out
    mine, theirs = (
        checkpoint.load(checkpoint.complete(run / "checkpoints")[-1]).tensors["weights"]
        for run in (straight, only_run(tmp_path))
    )
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert (value - theirs[name]).abs().max() <= 1e-3, name


@pytest.mark.slow
def test_a_process_without_an_item_is_refused(model: Path, store: Path, tmp_path: Path) -> None:
    status, out = shared(3, texts(store, tmp_path, "cela-adapted", model, model__held_out=0.03))
    assert status == 2 and "fewer than the 3 processes" in out
