"""Ctrl-C and SIGTERM, wherever they come: a line, the signal's status, nothing half-written (R4)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import polars as pl
import pytest
import torch

import worker
from legorec.engine.stopping import Interrupted
from legorec.lm.cut import LowerLayers
from legorec.recipes import export, predict
from legorec.recipes.outputs import measure, submission
from legorec.signals import STOPPED
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.launching import one_thread, prepared, shared
from tests.support.runs import ROOT, arguments, contents, differences, finish, only_run, start, write_store
from tests.support.signalling import LONG_CALL, SIGNALS, signalled

STOPPING = "stopping at the next safe place; once more to stop at once"
GO_ON = "stopped; go on with the same command and --resume true"


WRITING = {
    "measured": (
        "test",
        {"exp__baselines": "[]"},
        measure,
        "evaluate",
        2,
    ),  # the first one checks that it can be
    "measured by group": (
        "test",
        {"save_ranking": True, "exp__baselines": "[]"},
        measure,
        "save_per_group",
        1,
    ),
    "a baseline": ("test", {}, measure, "evaluate", 4),
    "Parquet": ("predict", {}, pl.LazyFrame, "sink_parquet", 1),
    "CSV": ("predict", {"format": "csv"}, pl.LazyFrame, "sink_csv", 1),
    "best items": ("predict", {"top_k": 3}, predict, "_write_table", 1),
    "submission": ("predict", {"format": "mind"}, submission, "lines", 1),
    "its archive": ("predict", {"format": "mind"}, submission.shutil, "copyfileobj", 1),
    "vectors": ("export", {}, export, "save_file", 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", WRITING)
def test_r4_a_signal_while_results_are_made(store, done, tmp_path, monkeypatch, capfd, case, after):
    """In the call itself, where the model is no longer asked."""
    exp, flags, owner, name, at = WRITING[case]
    number = SIGNALS[after]
    argv = arguments(store, tmp_path / "cut", exp=exp, load=done, **flags)
    with monkeypatch.context() as patch:
        signalled(patch, owner, name, number, at, after)
        assert worker.main(argv) == 128 + number
    assert capfd.readouterr().err.splitlines() == [STOPPING, GO_ON]
    cut = only_run(tmp_path / "cut")
    assert {path.name for path in cut.iterdir()} <= {
        "run.log",
        "settings.yaml",
        ".lock",
        "test_per_group.parquet",
    }
    straight = contents(finish(arguments(store, tmp_path / "straight", exp=exp, load=done, **flags)))
    assert worker.main([*argv, *["--resume", "true"] * after]) == 0
    again = contents(cut)
    assert again.keys() == straight.keys()
    assert [name for name in again if again[name] != straight[name]] == ["run.log"]


def test_r4_a_signal_while_a_table_is_written_is_not_waited_for(store, done, tmp_path, monkeypatch):
    """Polars asks for raw ids block by block, and that is where it is stopped."""
    real, refused, first = predict._named, [], threading.Lock()

    def named(column: str, ids: pl.Series, check: Callable[[], None]) -> pl.Expr:
        def checked() -> None:
            if first.acquire(blocking=False):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.5)  # the main thread is in polars; the one that listens is not
            try:
                check()
            except Interrupted:
                refused.append(column)
                raise

        return real(column, ids, checked)

    monkeypatch.setattr(predict, "_named", named)
    argv = arguments(store, tmp_path, exp="predict", load=done)
    assert worker.main(argv) == 128 + signal.SIGTERM
    assert refused
    assert {path.name for path in only_run(tmp_path).iterdir()} == {"run.log", "settings.yaml", ".lock"}


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.slow
def test_r4_a_signal_while_a_cache_is_built(tmp_path, monkeypatch, capfd, number):
    model = write_language_model(tmp_path / "llama", "llama").folder
    store = write_language_store(tmp_path / "store", llama=model)
    monkeypatch.setattr("legorec.recipes.cache.SHARD_UNIT", 4096)
    flags = {"layer": 0, "lora": 0, "shard_mb": 1, "token_budget": 100, "exp__cache__layers": "[1, 2]"}
    flags |= {"embed_hidden_size": 32}

    def command(name: str) -> list[str]:
        return language_arguments(
            store, model, tmp_path / name, tmp_path, "llama-naml", "llama-split", **flags
        )

    with monkeypatch.context() as patch:
        signalled(patch, LowerLayers, "padded", number, 3)
        assert worker.main(command("cut")) == 128 + number
    assert capfd.readouterr().err.splitlines()[-2:] == [STOPPING, GO_ON.removesuffix(" and --resume true")]
    assert not [name for name in contents(tmp_path / "cut") if ".tmp-" in name or "manifest" in name]
    for name in ("cut", "straight"):
        assert worker.main(command(name)) == 0
    cut, straight = contents(tmp_path / "cut"), contents(tmp_path / "straight")
    same = [name for name in straight if name.endswith(".safetensors")]
    assert cut.keys() == straight.keys() and all(cut[name] == straight[name] for name in same) and same


@pytest.mark.slow
def test_r4_a_second_signal_stops_a_run_in_a_long_call_at_once(store, tmp_path):
    """The first one is answered from there too."""
    step = f"lambda *_, **__: (print('here', flush=True), {LONG_CALL})"
    code = f"import hashlib, torch\ntorch.optim.AdamW.step = {step}"
    process = start(arguments(store, tmp_path), code=code)
    assert process.stdout is not None and process.stderr is not None
    while "here" not in (line := process.stdout.readline()):
        assert line
    for number, said in ((signal.SIGINT, STOPPING + "\n"), (signal.SIGTERM, "")):
        begun = time.monotonic()
        process.send_signal(number)
        assert process.stderr.readline() == said and time.monotonic() - begun < 2
    assert process.wait(5) == 128 + signal.SIGTERM
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("command", "status", "said"),
    [(["worker.py"], 128, STOPPED + "\n"), (["process/embed.py", "codes"], None, "")],
    ids=["worker", "embed"],
)
def test_r4_a_signal_while_torch_is_imported(store, tmp_path, number, command, status, said):
    """Nothing is begun. A script dies of the signal, for its own answer comes with its imports."""
    (tmp_path / "torch.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    argv = arguments(store, tmp_path / "runs") if command == ["worker.py"] else []
    process = subprocess.Popen(
        [sys.executable, *command, *argv],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "here\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (-number if status is None else status + number, said)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("exp", ["test", "predict"])
def test_r4_several_processes_stop_together(store, done, tmp_path, exp):
    """The launcher hands the signal on; the same command then ends as that of one process."""
    argv = arguments(store, tmp_path / "cut", exp=exp, load=done, eval_batch_size=2)
    code = """
import signal, time
from legorec.scorers import clicks
calls, real = [], clicks.Recommender.encode_users
def signalled(self, *given):
    calls.append(1)
    if len(calls) == 2 and rank == 1:
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(2)
    return real(self, *given)
clicks.Recommender.encode_users = signalled
"""
    process = prepared(tmp_path, code, 2, argv)
    out, _ = process.communicate(timeout=100)
    assert process.returncode != 0 and out.count(GO_ON) == 1 and out.count(STOPPING) == 1, out
    assert not (only_run(tmp_path / "cut") / "metrics.json").exists()
    status, out = shared(2, argv)
    assert status == 0, out
    with one_thread():
        straight = contents(finish(arguments(store, tmp_path / "one", exp=exp, load=done, eval_batch_size=2)))
    cut = contents(only_run(tmp_path / "cut"))
    assert cut.keys() == straight.keys()
    assert [name for name in cut if cut[name] != straight[name]] == ["run.log"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_r4_a_run_at_random_times(tmp_path):
    """Training, dev and test, again and again until it is done; then it is the straight one."""
    store = write_store(tmp_path / "store", num_items=500, num_train=600)
    flags = {"batch_size": 32, "epoch": 8, "patience": 99}
    straight = finish(arguments(store, tmp_path / "straight", **flags))
    argv, draw, cuts, status = arguments(store, tmp_path / "cut", **flags), random.Random(4), 0, -1
    while status:
        process = start([*argv, "--resume", "true"], torch.get_num_threads())
        assert process.stdout is not None
        while (line := process.stdout.readline()) and "trainable parameters" not in line:
            pass
        number = SIGNALS[cuts % 2]
        if cuts < 3:
            time.sleep(draw.uniform(0.1, 1))
            process.send_signal(number)
            begun = time.monotonic()
            assert process.stderr is not None
            said = [process.stderr.readline().strip() for _ in range(2)]
            assert said in ([STOPPING, GO_ON], ["", ""]) and time.monotonic() - begun < 5
        assert process.communicate(timeout=100)[1] == ""
        status, cuts = process.returncode, cuts + 1
        assert status in (0, 128 + number) and not list((tmp_path / "cut").rglob("*.tmp-*"))
    assert cuts > 1
    assert differences(straight, only_run(tmp_path / "cut")) == []
