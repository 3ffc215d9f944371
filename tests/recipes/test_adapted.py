"""A language model adapted to texts from settings: trained, resumed, and left as a checkpoint."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import worker
from legorec.data.ragged import Ragged
from legorec.lm.pretrained import find_pretrained
from legorec.processes import Processes
from legorec.recipes.adapted import item_stream
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
        [float(cell) for cell in (run / "epochs.csv").read_text().splitlines()[1].split(",")]
        for run in (straight, only_run(tmp_path))
    )
    # With half of the negatives SimCSE would be log 2 lower. Weights are no measure here: the gradient of a
    # key's bias is zero but for rounding, which Adam makes a step of.
    assert mine == pytest.approx(theirs, rel=1e-2)


def test_a_process_without_an_item_is_refused() -> None:
    settings = SimpleNamespace(exp=SimpleNamespace(policy=SimpleNamespace(batch_size=8)), seed=1)
    texts = SimpleNamespace(rows=Ragged.from_lengths(np.zeros(20, dtype=np.int32), np.ones(20, dtype=int)))
    items, three = np.arange(18), Processes(rank=0, world=3)
    with pytest.raises(ValueError, match="the last batch of 18 items has 2, fewer than the 3 processes"):
        item_stream(settings, texts, three, items)  # type: ignore[arg-type]
    assert len(item_stream(settings, texts, three, items[:16]).epoch(0)) == 2  # type: ignore[arg-type]
