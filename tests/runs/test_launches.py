"""A whole run in several processes: the folder, the metrics and the messages of one (R4, R16)."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import pytest

import worker
from legorec.engine import checkpoint
from tests.support.launching import launched, one_thread, prepared, shared
from tests.support.runs import (
    arguments,
    contents,
    differences,
    finish,
    last_state,
    only_run,
    run_folders,
)

UNEVEN = {"acc_batch": 2, "batch_size": 7}
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]


@pytest.fixture(scope="module", autouse=True)
def threads():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory, store):
    """A run of one process."""
    return finish(arguments(store, tmp_path_factory.mktemp("runs"), **UNEVEN))


@pytest.mark.slow
@pytest.mark.parametrize("flags", [{"slices": "{}"}, {"fast_eval": False}])
@pytest.mark.parametrize("number", [2, 3])
def test_r16_mode_test_writes_the_same_bytes(store, trained, tmp_path, number, flags):
    given = {"exp": "test", "load": trained, "eval_batch_size": 5, "page_size": 7, **flags}
    one = finish(arguments(store, tmp_path / "one", **given))
    status, out = shared(number, arguments(store, tmp_path / "more", **given))
    assert status == 0, out
    more = only_run(tmp_path / "more")
    assert (more / "metrics.json").read_bytes() == (one / "metrics.json").read_bytes()
    assert out.count("mean by impression") == 1 and out.count("weights of ") == 1
    assert f"on cpu, {number} processes, " in (more / "run.log").read_text()
    assert {path.name for path in more.iterdir()} == {path.name for path in one.iterdir()}


def near(one: Path, more: Path) -> None:
    """Two runs that differ in rounding alone; Adam divides by what may be as small, so weights do more."""
    for left, right in zip(*(checkpoint.complete(run / "checkpoints") for run in (one, more)), strict=True):
        assert left.name == right.name
        mine, theirs = (checkpoint.load(path).tensors for path in (left, right))
        for group, close in (("optimizer", 1e-8), ("weights", 1e-4)):
            assert mine[group].keys() == theirs[group].keys()
            for name, value in mine[group].items():
                assert (value - theirs[group][name]).abs().max() <= close, name


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("flags", [{}, {"exp": "tt-naml", "model": "lego_naml", "simple_dev": True}])
def test_a_whole_run_is_that_of_one_process(store, tmp_path, number, flags):
    flags = {**UNEVEN, **flags}
    one = finish(arguments(store, tmp_path / "one", **flags))
    status, out = shared(number, arguments(store, tmp_path / "more", **flags))
    assert status == 0, out
    near(one, only_run(tmp_path / "more"))
    assert len(run_folders(tmp_path / "more")) == 1 and out.count("epoch 1  loss") == 1
    assert len(contents(only_run(tmp_path / "more"))) == len(contents(one))


@pytest.mark.slow
@pytest.mark.parametrize("to", ["launcher", "last"])
def test_r4_stopped_and_resumed_equals_the_straight_run(store, tmp_path, to):
    """Whoever gets the signal, all stop at the same step; here the middle of the second epoch."""
    argv = arguments(store, tmp_path / "cut", save_every=3, batch_size=7)
    pid = "os.getppid()" if to == "launcher" else "os.getpid()"
    code = f"""
import signal, time, torch
steps, step = [], torch.optim.AdamW.step
def signalled(self, *given, **named):
    steps.append(1)
    if len(steps) == 22 and rank == 1:
        os.kill({pid}, signal.SIGTERM)
        time.sleep(2)  # the launcher takes a while to hand it on
    return step(self, *given, **named)
torch.optim.AdamW.step = signalled
"""
    process = prepared(tmp_path, code, 2, argv)
    out, _ = process.communicate(timeout=100)
    assert process.returncode != 0
    assert out.count("stopped; go on with the same command and --resume true") == 1
    assert out.count("stopping at the next safe place") == (to == "launcher")
    assert last_state(only_run(tmp_path / "cut")).state["progress"]["step"] in (22, 23)
    status, out = shared(2, [*argv, "--resume", "true"])
    assert status == 0 and out.count("resumed at batch") == 1, out
    straight = arguments(store, tmp_path / "straight", save_every=3, batch_size=7)
    status, out = shared(2, straight)
    assert status == 0, out
    assert differences(only_run(tmp_path / "straight"), only_run(tmp_path / "cut")) == []


@pytest.mark.slow
def test_accelerate_launches_it_too(store, trained, tmp_path):
    options = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    argv = arguments(store, tmp_path, exp="test", load=trained)
    process = launched([*ACCELERATE, "--multi_gpu", "--num_processes", "2", *options, "worker.py", *argv])
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0, out
    assert (only_run(tmp_path) / "metrics.json").read_bytes() == (trained / "metrics.json").read_bytes()
    assert ", 2 processes, " in out


@pytest.mark.slow
def test_mpirun_names_are_read_too(store, trained, tmp_path):
    argv = arguments(store, tmp_path, exp="test", load=trained)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    names = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
    processes = [
        launched(
            [sys.executable, "worker.py", *argv],
            **place,
            OMPI_COMM_WORLD_SIZE="2",
            **dict.fromkeys(names, str(rank)),
        )
        for rank in range(2)
    ]
    ends = [(process.communicate(timeout=100)[0], process.returncode) for process in processes]
    assert [status for _, status in ends] == [0, 0] and ends[1][0] == ""
    assert (only_run(tmp_path) / "metrics.json").read_bytes() == (trained / "metrics.json").read_bytes()


BROKEN = {  # where: what fails there, and in which processes
    "before the folder": "import legorec.recipes.tower as m\nm.open_data = fail({ranks}, m.open_data)",
    "while training": "import torch\ntorch.optim.AdamW.step = fail({ranks}, torch.optim.AdamW.step)",
    "while saving": "from legorec.engine import checkpoint\ncheckpoint.save = fail({ranks}, checkpoint.save)",
}
FAIL = """
def fail(ranks, otherwise):
    def failing(*given, **named):
        if rank in ranks:
            raise ValueError("this is broken")
        return otherwise(*given, **named)
    return failing
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "ranks"),
    [
        ("before the folder", "(1,)"),
        ("before the folder", "(0, 1)"),
        ("while training", "(1,)"),
        ("while training", "(0, 1)"),
        ("while saving", "(0,)"),
    ],
)
def test_an_error_is_told_once_and_nobody_hangs(store, tmp_path, where, ranks):
    begun = time.monotonic()
    process = prepared(
        tmp_path, FAIL + BROKEN[where].format(ranks=ranks), 2, arguments(store, tmp_path / "runs")
    )
    out, _ = process.communicate(timeout=100)
    assert process.returncode != 0 and time.monotonic() - begun < 60
    assert out.count("error: this is broken") == 1
    assert (tmp_path / "runs").exists() == (where != "before the folder")
    if where == "while saving":
        assert "stopped: this is broken" in (next((tmp_path / "runs").rglob("run.log"))).read_text()


@pytest.mark.slow
def test_one_that_is_killed_ends_the_others(store, tmp_path):
    code = "import signal, torch\nif rank == 1:\n"
    code += "    torch.optim.AdamW.step = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
    process = prepared(tmp_path, code, 3, arguments(store, tmp_path / "runs"))
    out, _ = process.communicate(timeout=60)
    assert process.returncode != 0 and 'Traceback (most recent call last):\n  File "/' not in out
    assert out.count("stopped: another process of this run has ended: ") == 1


@pytest.mark.slow
def test_a_wrong_setting_and_a_used_folder_are_told_once(store, tmp_path):
    status, out = shared(2, [*arguments(store, tmp_path), "--hiden_size", "3"])
    assert status != 0 and out.count("in the settings") == 1
    argv = arguments(store, tmp_path, epoch=1)
    assert worker.main(argv) == 0
    status, out = shared(2, argv)
    assert status != 0 and out.count("error: ") == 1 and "is finished" in out
    status, out = shared(2, [*argv, "--dry_run", "true"])
    assert status == 0 and out.count("command line --hidden_size") == 1
