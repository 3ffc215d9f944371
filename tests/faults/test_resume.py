"""A run that is killed, interrupted or stopped by a NaN goes on exactly (R1, R2, R4, R5)."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
import torch

import worker
from legorec.engine import checkpoint
from legorec.objectives.sampled_softmax import SampledSoftmaxObjective
from legorec.recipes.outputs import measure
from tests.support.runs import arguments, differences, finish, last_state, only_run, start, write_store

STEPS = 16  # of a run with the settings of ``tests.support.runs``: 2 epochs of 8 batches

# Run before the worker in a process of its own: it is killed right after its n-th optimizer step.
KILL_AFTER_STEP = """
import os, signal, torch
steps, step = [], torch.optim.AdamW.step
def killed(self, *given, **named):
    step(self, *given, **named)
    steps.append(1)
    if len(steps) == {}:
        os.kill(os.getpid(), signal.SIGKILL)
torch.optim.AdamW.step = killed
"""
# Killed when the n-th checkpoint was put in its place, before the old ones are removed.
KILL_AFTER_SAVE = """
import os, signal
from legorec.engine import checkpoint
saves, save = [], checkpoint.save
def killed(*given):
    save(*given)
    saves.append(1)
    if len(saves) == {}:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.save = killed
"""


@pytest.fixture(scope="module")
def straight(tmp_path_factory, store):
    """The run that was left alone."""
    return finish(arguments(store, tmp_path_factory.mktemp("runs"), save_every=3))


def send_at(monkeypatch, number: int, step: int) -> None:
    """This process gets a signal in the middle of an optimizer step."""
    steps, before = [], torch.optim.AdamW.step

    def signalled(self, *given, **named):
        steps.append(1)
        if len(steps) == step:
            os.kill(os.getpid(), number)
        return before(self, *given, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", signalled)


@pytest.mark.slow
@pytest.mark.parametrize("code", [KILL_AFTER_STEP.format(13), KILL_AFTER_SAVE.format(3)])
def test_r1_killed_and_resumed_equals_straight(store, straight, tmp_path, code):
    argv = arguments(store, tmp_path, save_every=3)
    process = start(argv, torch.get_num_threads(), code)
    process.communicate(timeout=100)
    assert process.returncode == -signal.SIGKILL
    assert worker.main([*argv, "--resume", "true"]) == 0
    assert differences(straight, only_run(tmp_path)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "step", [1, pytest.param(5, marks=pytest.mark.slow), 8, pytest.param(9, marks=pytest.mark.slow), STEPS]
)
def test_r4_a_signal_in_training_leaves_a_checkpoint(
    store, straight, tmp_path, monkeypatch, capfd, number, step
):
    argv = arguments(store, tmp_path, save_every=3)
    with monkeypatch.context() as patch:
        send_at(patch, number, step)
        assert worker.main(argv) == 128 + number
    assert "go on with the same command and --resume true" in capfd.readouterr().err
    assert last_state(only_run(tmp_path)).state["progress"]["step"] == step
    assert worker.main([*argv, "--resume", "true"]) == 0
    assert differences(straight, only_run(tmp_path)) == []


@pytest.mark.parametrize(
    "call", [1, pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(4, marks=pytest.mark.slow), 5]
)
def test_r4_a_signal_in_evaluation_leaves_a_checkpoint(store, straight, tmp_path, monkeypatch, capfd, call):
    """Calls: dev after each epoch, test, then the baselines."""
    argv, calls, rank = arguments(store, tmp_path, save_every=3), [], measure.rank

    def signalled(*given, **named):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return rank(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(measure, "rank", signalled)
        assert worker.main(argv) == 128 + signal.SIGTERM
    run = only_run(tmp_path)
    assert not (run / "metrics.json").exists()
    assert "stopped: asked to by signal 15" in (run / "run.log").read_text()
    assert worker.main([*argv, "--resume", "true"]) == 0
    assert differences(straight, run) == []


def test_r4_a_signal_while_the_dev_loss_is_taken(store, tmp_path, monkeypatch):
    argv = arguments(store, tmp_path / "cut", simple_dev=True)
    straight = finish(arguments(store, tmp_path / "straight", simple_dev=True))
    calls, forward = [], SampledSoftmaxObjective.__call__

    def signalled(self, model, batch):
        calls.append(1)
        if not model.training and len(calls) < 11:
            os.kill(os.getpid(), signal.SIGINT)
        return forward(self, model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(SampledSoftmaxObjective, "__call__", signalled)
        assert worker.main(argv) == 130
    assert worker.main([*argv, "--resume", "true"]) == 0
    assert differences(straight, only_run(tmp_path / "cut")) == []


@pytest.mark.slow
def test_resuming_may_be_cut_again_and_again(store, straight, tmp_path, monkeypatch):
    argv, status, cuts = arguments(store, tmp_path, save_every=3), 130, 0
    while status == 130:
        with monkeypatch.context() as patch:
            send_at(patch, signal.SIGINT, 2)
            status = worker.main([*argv, "--resume", "true"])
        cuts += status == 130
    assert (status, cuts) == (0, STEPS // 2)
    assert differences(straight, only_run(tmp_path)) == []


@pytest.mark.parametrize("step", [1, 7, pytest.param(12, marks=pytest.mark.slow)])
def test_r5_a_nan_stops_and_keeps_the_last_good_checkpoint(
    store, straight, tmp_path, monkeypatch, capsys, step
):
    argv, forward = arguments(store, tmp_path, save_every=3), SampledSoftmaxObjective.__call__

    def broken(self, model, batch):
        loss = forward(self, model, batch)
        loss.total.mul_(float("nan") if batch.number == step - 1 and model.training else 1.0)
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(SampledSoftmaxObjective, "__call__", broken)
        assert worker.main(argv) == 2
    err = capsys.readouterr().err
    assert "the loss is not finite" in err and f"at batch {step - 1}, impressions " in err
    run = only_run(tmp_path)
    kept = checkpoint.complete(run / "checkpoints")
    assert bool(kept) == (step > 3)
    for path in kept:
        saved = checkpoint.load(path)
        assert saved.state["progress"]["step"] < step
        assert all(value.isfinite().all() for group in saved.tensors.values() for value in group.values())
    assert worker.main([*argv, "--resume", "true"]) == 0
    assert differences(straight, run) == []


@pytest.mark.parametrize("lr", ["1e30", "1e39"])
def test_r5_an_absurd_learning_rate_stops_and_saves_nothing_infinite(store, tmp_path, capsys, lr):
    assert worker.main(arguments(store, tmp_path, lr=lr, save_every=1)) == 2
    err = capsys.readouterr().err
    assert "is not finite" in err and "batch " in err and "A lower `lr`" in err
    for path in checkpoint.complete(only_run(tmp_path) / "checkpoints"):
        assert all(value.isfinite().all() for value in checkpoint.load(path).tensors["weights"].values())


@pytest.mark.slow
def test_r4_a_process_stops_within_seconds(store, tmp_path):
    argv = arguments(store, tmp_path, epoch=1000, patience=1000)
    process = start(argv)
    assert process.stdout is not None
    while "epoch 0" not in process.stdout.readline():
        assert process.poll() is None
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and time.monotonic() - begun < 5
    assert err.splitlines() == [
        "stopping at the next safe place; once more to stop at once",
        "stopped; go on with the same command and --resume true",
    ]
    checkpoint.load(checkpoint.complete(only_run(tmp_path) / "checkpoints")[-1])


@pytest.mark.slow
def test_r4_a_second_signal_stops_at_once(store, tmp_path):
    sleeping = "lambda *_, **__: (print('here', flush=True), time.sleep(99))"
    code = f"import time, torch\ntorch.optim.AdamW.step = {sleeping}"
    process = start(arguments(store, tmp_path), code=code)
    assert process.stdout is not None
    while "here" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert process.poll() is None
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and time.monotonic() - begun < 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "threads"), [("lego_nrms", 1), ("lego_nrms", 2), ("lego_naml", 2), ("lego_nrms_id", 2)]
)
def test_r1_at_random_steps_with_one_and_two_threads(tmp_path, model, threads):
    """Batches large enough that torch shares them among its threads."""
    store = write_store(tmp_path / "store", num_items=2000, num_train=2500)
    wide = {
        "batch_size": 256,
        "hidden_size": 64,
        "embed_hidden_size": 64,
        "save_every": 2,
    }  # 10 steps an epoch

    def run(name: str, code: str = "", **more: object) -> int:
        argv = arguments(store, tmp_path / name, model=model, **wide, **more)
        process = start(argv, threads, f"import torch\ntorch.set_num_threads({threads})\n{code}")
        out, err = process.communicate(timeout=300)
        assert "Traceback" not in out + err
        return process.returncode

    assert run("straight") == 0
    draw = random.Random(f"{model} {threads}")  # the same on every run
    for step in (*sorted(draw.sample(range(1, 21), 2)), 10):
        name = f"killed {step}"
        assert run(name, KILL_AFTER_STEP.format(step)) == -signal.SIGKILL
        assert run(name, resume=True) == 0
        assert differences(only_run(tmp_path / "straight"), only_run(tmp_path / name)) == []


@pytest.mark.slow
def test_r2_killed_at_random_times_a_folder_always_resumes(store, tmp_path):
    flags = {"save_every": 1, "epoch": 60, "patience": 100}
    argv = arguments(store, tmp_path / "killed", **flags)
    draw, kills, done = random.Random(2), 0, False
    while not done:
        process = start([*argv, "--resume", "true"])
        assert process.stdout is not None
        while (line := process.stdout.readline()) and "trainable parameters" not in line:
            pass
        if kills < 20:
            time.sleep(draw.uniform(0.0, 0.5))
            process.kill()
        process.communicate(timeout=300)
        done = process.returncode == 0
        if not done:
            assert process.returncode == -signal.SIGKILL
            kills += 1
            for path in checkpoint.complete(only_run(tmp_path / "killed") / "checkpoints"):
                checkpoint.load(path)
    assert kills == 20
    straight = finish(arguments(store, tmp_path / "straight", **flags))
    assert differences(straight, only_run(tmp_path / "killed")) == []
