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
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import worker
from legorec.data import tokenizations
from legorec.data.raw.command import run
from legorec.data.store import Store
from legorec.data.writing import tables
from legorec.engine.signals import Interrupted
from legorec.lm.cut import LowerLayers, UpperLayers
from legorec.recipes import evaluate, export, predict, submission
from legorec.signals import STOPPED
from process import embed, retokenize, unitok
from tests.data.small_store import files, write
from tests.language_runs import language_arguments, write_language_model, write_language_store
from tests.launching import one_thread, prepared, shared
from tests.runs import ROOT, arguments, contents, differences, finish, only_run, start, write_store

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPING = "stopping at the next safe place; once more to stop at once"
GO_ON = "stopped; go on with the same command and --resume true"
# A call that takes a minute and lets other threads run, as a large sort does.
LONG_CALL = 'hashlib.pbkdf2_hmac("sha512", b"", b"", 10**9)'


def signalled(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int, at: int = 1, after: bool = False
) -> None:
    """This process gets a signal at one of the calls of a function, before what it does or after it."""
    calls, real = [], getattr(owner, name)

    def call(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == at and not after:
            os.kill(os.getpid(), number)
        result = real(*given, **named)
        if len(calls) == at and after:
            os.kill(os.getpid(), number)
        return result

    monkeypatch.setattr(owner, name, call)


WRITING = {
    "measured": (
        "test",
        {"exp__baselines": "[]"},
        evaluate,
        "evaluate",
        2,
    ),  # the first one checks that it can be
    "measured by group": (
        "test",
        {"save_ranking": True, "exp__baselines": "[]"},
        evaluate,
        "save_per_group",
        1,
    ),
    "a baseline": ("test", {}, evaluate, "evaluate", 4),
    "Parquet": ("predict", {}, pl.LazyFrame, "sink_parquet", 1),
    "CSV": ("predict", {"format": "csv"}, pl.LazyFrame, "sink_csv", 1),
    "best items": ("predict", {"top_k": 3}, predict, "_write_table", 1),
    "submission": ("predict", {"format": "mind"}, submission, "lines", 1),
    "its archive": ("predict", {"format": "mind"}, submission.shutil, "copyfileobj", 1),
    "vectors": ("export", {}, export, "save_file", 2),
}


@pytest.mark.parametrize("after", [False, True])
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


def stopped(
    main: Callable[..., None], argv: list[Any], number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """A script ends with the signal's status, and says so in its last line."""
    with pytest.raises(SystemExit) as ended:
        run(main, [str(part) for part in argv])
    assert ended.value.code == 128 + number
    err = capfd.readouterr().err
    assert err.splitlines()[-1] == STOPPED and err.count(STOPPED) == 1 and "Traceback" not in err


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("at", [1, 2])
def test_r4_a_signal_while_a_store_is_written(tmp_path, monkeypatch, capfd, number, at):
    """Where it tokenizes, over what is there."""
    before = files(write(tmp_path / "store").path)
    main = lambda argv: write(Path(argv[0]), overwrite=True, number=2)  # noqa: E731
    with monkeypatch.context() as patch:
        signalled(patch, tables, "encode", number, at)
        stopped(main, [tmp_path / "store"], number, capfd)
    assert [path.name for path in tmp_path.iterdir()] == ["store"] and files(tmp_path / "store") == before


def test_r4_a_signal_while_a_tokenization_is_added(tmp_path, monkeypatch, capfd):
    store = write(tmp_path / "store")
    store.tokenizer("words").save(str(tmp_path / "tokenizer.json"))
    before = files(store.path)
    argv = ["--store", store.path, "--field", "title", "--tokenizer", f"more={tmp_path}"]
    with monkeypatch.context() as patch:
        signalled(patch, tokenizations, "digest_file", signal.SIGTERM)  # when its files are there
        stopped(retokenize.main, argv, signal.SIGTERM, capfd)
    assert files(store.path) == before
    retokenize.main([str(part) for part in argv])
    assert "title@more" in Store.open(store.path, verify="full").items.field_names


def test_r4_a_signal_while_depots_are_written(tmp_path, monkeypatch, capfd):
    write(tmp_path / "store")
    signalled(monkeypatch, unitok.export.__globals__["NewDepot"], "save", signal.SIGINT, 2)
    argv = ["export", "--store", tmp_path / "store", "--out", tmp_path / "depots"]
    stopped(unitok.main, argv, signal.SIGINT, capfd)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_r4_a_signal_while_items_go_through_a_model(tmp_path, monkeypatch, capfd):
    model = write_language_model(tmp_path / "model", "bert").folder
    store = write_language_store(tmp_path / "store", lm=model)
    signalled(monkeypatch, UpperLayers, "forward", signal.SIGTERM, 2)
    argv = ["items", "--checkpoint", model, "--store", store, "--template", "{title}", "--name", "x"]
    argv += ["--out", tmp_path / "out", "--config", tmp_path / "out", "--device", "cpu", "--token_budget", 20]
    stopped(embed.main, argv, signal.SIGTERM, capfd)
    assert not (tmp_path / "out").exists()


def test_every_script_stops_in_the_same_way():
    scripts = sorted((ROOT / "process").glob("*.py"))
    assert scripts and all(path.read_text().endswith("    run(main)\n") for path in scripts)


def script(out: Path, body: str, patience: float = 3) -> subprocess.Popen[str]:
    """A processor that has begun a store and says so."""
    code = f"""
import hashlib, sys, time
from pathlib import Path
from legorec.data.raw import command
from tests.data.small_store import *
command.PATIENCE = {patience}
def main(arguments):
    with StoreWriter(Path(arguments[0]), {{}}, [WORDS]) as writer:
        writer.items(ITEMS, COLUMNS)
        print("here", flush=True)
        {body}
command.run(main, sys.argv[1:])
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, out], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "here\n"
    time.sleep(0.5)  # it is in that call
    return process


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_r4_a_script_in_a_long_call_ends_within_five_seconds(tmp_path, number):
    process = script(tmp_path / "out" / "store", LONG_CALL)
    begun = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (128 + number, STOPPED + "\n") and time.monotonic() - begun < 5
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_r4_a_second_signal_stops_a_script_at_once(tmp_path):
    process = script(tmp_path / "out" / "store", LONG_CALL, patience=99)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (
        128 + signal.SIGTERM,
        STOPPED + "\n",
    ) and time.monotonic() - begun < 2
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_r4_a_large_tokenization_does_not_swallow_it(tmp_path):
    """One batch of long texts, which takes minutes."""
    texts = '[" ".join(map(str, range(300_000)))] * 99'
    body = f'TokenizerChoice("words").build(iter(["a b"])).encode_batch_fast({texts})'
    process = script(tmp_path / "out" / "store", body)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, STOPPED + "\n") and time.monotonic() - begun < 5
    assert not list((tmp_path / "out").iterdir())


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
def test_r4_a_processor_at_random_times(tmp_path):
    """Again and again at one place, until it is left alone; then its store is that of a straight run."""
    argv = ["--items", "4000", "--users", "2000", "--impressions", "20000", "--candidates", "10"]
    command = [sys.executable, ROOT / "process" / "synthetic.py", *argv]

    def begin(name: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, "--out", tmp_path / name / "store"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    process, begun = begin("straight"), time.monotonic()
    assert process.stderr is not None and process.stderr.readline()
    said_after = time.monotonic() - begun
    assert process.communicate(timeout=100) and process.returncode == 0
    takes, draw = time.monotonic() - begun - said_after, random.Random(4)
    for turn in range(8):
        process = begin("cut")
        assert process.stderr is not None and process.stderr.readline()  # it is at work
        time.sleep(draw.uniform(0, 0.8 * takes))
        begun = time.monotonic()
        process.send_signal(SIGNALS[turn % 2])
        err = process.communicate(timeout=30)[1]
        assert time.monotonic() - begun < 5 and "Traceback" not in err
        assert (process.returncode, err.splitlines()[-1]) == (128 + SIGNALS[turn % 2], STOPPED)
        assert not list((tmp_path / "cut").iterdir())
    assert begin("cut").wait(100) == 0
    one, other = (Store.open(tmp_path / name / "store", verify="full") for name in ("straight", "cut"))
    assert one.digest == other.digest


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
