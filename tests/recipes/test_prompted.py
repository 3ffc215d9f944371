"""Prompted models from settings: trained, resumed, shared among processes, and measured again."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import worker
from legorec.engine import checkpoint
from tests.faults.test_resume import KILL_AFTER_STEP, send_at
from tests.support.launching import one_thread, shared
from tests.support.prompted import arguments, marked_store
from tests.support.runs import differences, finish, last_state, only_run, refused, start

ALIKE = "[{name: target, item: '{name}'}, {name: said, answer: [Yes, Yes indeed]}]"
STEPS = 4  # of an epoch
EVERY = {"save_every": 3}


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("marked") / "store"
    marked_store(path, num_users=20, examples=3)
    return path


@pytest.fixture(scope="module")
def straight(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left alone."""
    return finish(arguments(store, tmp_path_factory.mktemp("runs"), **EVERY))


def test_a_run_trains_and_reports_both_aucs(straight: Path) -> None:
    metrics = json.loads((straight / "metrics.json").read_text())
    assert set(metrics["test"]["metrics"]) == {"auc", "gauc"} and metrics["test"]["group_by"] == "user"
    assert metrics["test"]["rows"] == 60 and {"likes_ratio", "popularity"} < set(metrics["baselines"])
    assert (
        checkpoint.read_state(checkpoint.complete(straight / "checkpoints")[-1])["progress"]["step"]
        == 2 * STEPS
    )
    epochs = [row.split(",") for row in (straight / "epochs.csv").read_text().splitlines()]
    assert epochs[0] == ["epoch", "loss", "auc", "gauc"] and float(epochs[2][1]) < float(epochs[1][1])


def test_a_trained_run_is_measured_again(straight: Path, store: Path, tmp_path: Path) -> None:
    metrics = json.loads((straight / "metrics.json").read_text())
    run = finish(arguments(store, tmp_path, exp__mode="test", exp__load=straight))
    assert json.loads((run / "metrics.json").read_text())["test"] == metrics["test"]


@pytest.mark.parametrize("step", [2, STEPS, STEPS + 2])
def test_r1_stopped_and_resumed_equals_straight(
    straight: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    argv = arguments(store, tmp_path, **EVERY)
    with monkeypatch.context() as patch:
        send_at(patch, signal.SIGINT, step)
        assert worker.main(argv) == 128 + signal.SIGINT
    assert worker.main([*argv, "--resume", "true"]) == 0
    assert differences(straight, only_run(tmp_path)) == []


@pytest.mark.slow
@pytest.mark.parametrize("step", [STEPS + 1, STEPS + 3])
def test_r1_killed_and_resumed_equals_straight(
    straight: Path, store: Path, tmp_path: Path, step: int
) -> None:
    argv = arguments(store, tmp_path, **EVERY)
    process = start(argv, 1, KILL_AFTER_STEP.format(step))
    process.communicate(timeout=100)
    assert process.returncode == -signal.SIGKILL
    assert worker.main([*argv, "--resume", "true"]) == 0
    assert differences(straight, only_run(tmp_path)) == []


@pytest.mark.slow
@pytest.mark.parametrize("flags", [{"batch_size": 7, "acc_batch": 2}, {"loss_on": "all"}])
def test_r16_two_processes_train_what_one_does(store: Path, tmp_path: Path, flags: dict[str, object]) -> None:
    one = finish(arguments(store, tmp_path / "one", **flags))
    status, out = shared(2, arguments(store, tmp_path / "two", **flags))
    assert status == 0, out
    two = only_run(tmp_path / "two")
    mine, theirs = (
        checkpoint.load(checkpoint.complete(run / "checkpoints")[-1]).tensors["weights"] for run in (one, two)
    )
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert (value - theirs[name]).abs().max() <= 1e-4, name
    found = [json.loads((run / "metrics.json").read_text())["test"]["metrics"] for run in (one, two)]
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_few_shots_are_all_that_is_learned_from(straight: Path, store: Path, tmp_path: Path) -> None:
    """Two epochs of four steps are four passes over 32 rows in batches of 16; dev and test stay whole."""
    run = finish(arguments(store, tmp_path, shots=32, epoch_batch=4))
    assert "shots: 32 of 60 train impressions are kept" in (run / "run.log").read_text()
    assert run.name != straight.name and last_state(run).state["progress"]["step"] == 8
    found, whole = (json.loads((each / "metrics.json").read_text()) for each in (run, straight))
    assert found["test"]["rows"] == whole["test"]["rows"]
    assert found["baselines"]["likes_ratio"] == whole["baselines"]["likes_ratio"]
    assert found["baselines"]["popularity"] != whole["baselines"]["popularity"], "it counts what is kept"


@pytest.mark.parametrize("count", [1, 31])
def test_stratified_shots_hold_both_answers(store: Path, tmp_path: Path, count: int) -> None:
    run = finish(arguments(store, tmp_path, shots=count, stratified=True, epoch=1))
    log = (run / "run.log").read_text()
    assert f"shots: {count} of 60 train impressions are kept, stratified by label" in log


def test_it_is_measured_every_so_many_steps_and_stops_without_gain(store: Path, tmp_path: Path) -> None:
    """TALLRec: every ten steps, however long a pass is; here two, at a rate too low to gain."""
    run = finish(arguments(store, tmp_path, shots=12, epoch_batch=2, epoch=50, patience=3, lr=1e-12))
    epochs = (run / "epochs.csv").read_text().splitlines()[1:]
    assert len(epochs) == 1 + 3 + 1 and last_state(run).state["progress"]["step"] == 2 * len(epochs)


def test_a_learning_rate_is_found(store: Path, tmp_path: Path) -> None:
    run = finish(arguments(store, tmp_path, exp="lr", steps=40, highest=10.0, lr=1e-3))
    found = json.loads((run / "metrics.json").read_text())["find_lr"]
    assert 1e-4 < found["suggested"]["lr"] < 1.0


def test_epochs_may_be_judged_by_some_rows_of_dev(straight: Path, store: Path, tmp_path: Path) -> None:
    """What is drawn from dev changes what is measured after an epoch, and nothing else."""
    run = finish(arguments(store, tmp_path, dev_rows=25, patience=9))
    assert "dev_rows: 25 of 60 dev impressions are kept" in (run / "run.log").read_text()
    mine, whole = ((each / "epochs.csv").read_text().splitlines()[1:] for each in (run, straight))
    assert [row.split(",")[1] for row in mine] == [row.split(",")[1] for row in whole]
    assert [row.split(",")[2:] for row in mine] != [row.split(",")[2:] for row in whole]
    assert json.loads((run / "metrics.json").read_text())["test"]["rows"] == 60


def test_batches_in_parts_take_the_steps_of_the_whole(straight: Path, store: Path, tmp_path: Path) -> None:
    """Losses are divided by the tokens of the whole step, not part by part."""
    run = finish(arguments(store, tmp_path, batch_size=4, acc_batch=4, loss_on="all"))
    whole = finish(arguments(store, tmp_path / "whole", loss_on="all"))
    mine, theirs = (
        checkpoint.load(checkpoint.complete(each / "checkpoints")[-1]).tensors["weights"]
        for each in (run, whole)
    )
    assert all((value - theirs[name]).abs().max() <= 1e-4 for name, value in mine.items())


@pytest.mark.parametrize(
    ("flags", "texts"),
    [
        ({"max_length": 40}, ["`prompt.max_length` must be at least", "got 40"]),
        (
            {"model__prompt__segments": ALIKE},
            ["`prompt.segments.said`: 'Yes' and 'Yes indeed' begin with the same"],
        ),
        ({"heads": 3}, ["`heads` must divide `hidden_size` (8)", "got 3"]),
    ],
)
def test_what_cannot_be_asked_is_refused_before_the_folder_is_made(
    store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: dict[str, object],
    texts: list[str],
) -> None:
    refused(arguments(store, tmp_path / "runs", **flags), capsys, *texts)
    assert not (tmp_path / "runs").exists()


def test_another_prompt_than_that_of_training_is_refused(
    straight: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = arguments(store, tmp_path, exp__mode="test", exp__load=straight, max_length=500)
    refused(argv, capsys, "was trained with another `model.prompt`")
