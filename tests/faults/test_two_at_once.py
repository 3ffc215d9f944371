"""Two runs at one folder: one works, the other is refused, and what is there stays whole."""

from __future__ import annotations

import signal

import pytest
import torch

import worker
from tests.support.runs import arguments, differences, finish, only_run, refused, start, write_store
from tests.support.small_store import write


def test_a_run_whose_store_is_replaced_ends_as_the_straight_one(tmp_path, monkeypatch):
    write_store(tmp_path / "store")
    straight = finish(arguments(tmp_path / "store", tmp_path / "straight"))
    steps, before = [], torch.optim.AdamW.step

    def replacing(self, *given, **named):
        steps.append(1)
        if len(steps) == 3:
            write(tmp_path / "store", overwrite=True)
        return before(self, *given, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", replacing)
    run = finish(arguments(tmp_path / "store", tmp_path / "runs"))
    assert differences(straight, run) == []


@pytest.mark.slow
@pytest.mark.parametrize("exp", ["tt-nrms", "test", "predict", "export"])
def test_a_run_beside_another_is_refused(store, done, tmp_path, capsys, exp):
    """Whatever the second one asks for; the first goes on."""
    flags = {} if exp == "tt-nrms" else {"load": done}
    argv = arguments(store, tmp_path, exp=exp, **flags)
    code = """
import time
from pathlib import Path
from legorec.engine.run_folder import RunFolder
real = RunFolder.write_metrics
def slowly(*given):
    print("here", flush=True)
    while not (Path(argv[argv.index("--runs") + 1]) / "go on").exists():
        time.sleep(0.05)
    real(*given)
RunFolder.write_metrics = slowly
"""
    process = start(argv, code=code)
    assert process.stdout is not None
    while "here" not in (line := process.stdout.readline()):
        assert line
    for more in ([], ["--resume", "true"], ["--overwrite", "true"]):
        refused([*argv, *more], capsys, f"another process is running in {only_run(tmp_path)}; wait")
    (tmp_path / "go on").touch()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    refused(argv, capsys, "is finished")


@pytest.mark.slow
def test_of_runs_that_begin_at_once_one_works(store, tmp_path):
    straight = finish(arguments(store, tmp_path / "straight"))
    processes = [start(arguments(store, tmp_path / "runs")) for _ in range(3)]
    ends = [(process.communicate(timeout=100)[1], process.returncode) for process in processes]
    assert sorted(status for _, status in ends) == [0, 2, 2]
    for err, status in ends:
        told = (
            "another process is running in",
            "was stopped before its end",
            "is finished (see metrics.json",
        )
        assert status == 0 or (any(each in err for each in told) and err.count("\n") == 1), err
    assert differences(straight, only_run(tmp_path / "runs")) == []


@pytest.mark.slow
def test_what_a_killed_run_left_is_removed(store, tmp_path, monkeypatch):
    argv = arguments(store, tmp_path)
    code = """
import os
replace = os.replace  # also of the remembered digests, which are no part of the run
os.replace = lambda path, to: os.kill(os.getpid(), 9) if ".tmp-" in str(path) else replace(path, to)
"""
    process = start(argv, code=code)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert [path for path in tmp_path.rglob("*.tmp-*")]
    assert worker.main(argv) == 0
    assert not [path for path in tmp_path.rglob("*.tmp-*")]
