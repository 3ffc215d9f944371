"""Ctrl-C and SIGTERM in a script: one line, the signal's status, nothing half-written (R4)."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from legorec.data import tokenizations
from legorec.data.raw.command import run
from legorec.data.store import Store
from legorec.data.writing import tables
from legorec.lm.cut import UpperLayers
from legorec.signals import STOPPED
from process import embed, retokenize, unitok
from tests.support.language_runs import write_language_model, write_language_store
from tests.support.runs import ROOT
from tests.support.signalling import LONG_CALL, SIGNALS, signalled
from tests.support.small_store import files, write


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
@pytest.mark.parametrize("error", [TypeError, RuntimeError, ValueError, SystemError])
def test_r4_a_signal_of_which_a_library_makes_an_error(capfd, number, error):
    """NumPy reads an interrupt that comes while it asks for the type of an argument as a yes."""

    def main(argv):
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            raise error("not what it was") from None

    stopped(main, [], number, capfd)


def test_an_error_of_the_program_itself_is_not_hidden():
    def main(argv):
        raise TypeError("a fault of the program")

    with pytest.raises(TypeError, match="a fault of the program"):
        run(main, [])


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
        signalled(patch, tokenizations, "fact_of", signal.SIGTERM)  # when its files are there
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
from tests.support.small_store import *
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
    straight = Store.open(tmp_path / "straight" / "store").digest
    takes, draw = time.monotonic() - begun - said_after, random.Random(4)
    for turn in range(8):
        process = begin("cut")
        assert process.stderr is not None and process.stderr.readline()  # it is at work
        time.sleep(draw.uniform(0, 0.6 * takes))
        process.send_signal(SIGNALS[turn % 2])
        err = process.communicate(timeout=30)[1]
        assert "Traceback" not in err
        there = list((tmp_path / "cut").iterdir())
        if not there:
            assert (process.returncode, err.splitlines()[-1]) == (128 + SIGNALS[turn % 2], STOPPED)
        else:  # it came while the counts were printed, or the interpreter was being left
            assert [Store.open(path, verify="full").digest for path in there] == [straight]
            shutil.rmtree(there[0])
    assert begin("cut").wait(100) == 0
    assert Store.open(tmp_path / "cut" / "store", verify="full").digest == straight
