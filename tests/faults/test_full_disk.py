"""A full disk is one line, keeps what was there, leaves nothing half-written, and can be gone on from (R3).

Here a limit on the size of files stands for the disk; ``test_small_disk`` does the same on small ones.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from legorec.data.raw.wheels import Wheel, unpack
from legorec.data.store import Store
from legorec.data.text import TokenizerChoice
from legorec.data.tokenizations import add_tokenization
from legorec.data.vectors import NewTable, Rows
from legorec.engine import checkpoint
from legorec.engine.log import RunLog
from legorec.engine.run_folder import RunFolder
from legorec.files.disk import WriteError
from legorec.files.manifest import MANIFEST
from legorec.lm.adapter_files import read_weights, write_adapter
from legorec.recipes import export, predict
from legorec.recipes.outputs import measure
from process import unitok
from tests.support.disks import files_up_to, left_overs, limit, no_space
from tests.support.raw_files import refusal
from tests.support.runs import arguments, contents, differences, finish, only_run, refused
from tests.support.small_store import files, write
from tests.support.state_caches import build, check, of_items, states
from tests.support.state_caches import writer as cache_writer

FULL = "bytes were free (File too large)"


@pytest.fixture(autouse=True)
def digests_of_its_own(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("remembered")))


@pytest.fixture(scope="module")
def straight(tmp_path_factory, store):
    return finish(arguments(store, tmp_path_factory.mktemp("runs"), save_every=3, save_ranking=True))


@pytest.mark.parametrize(
    ("save", "file"),
    [
        (1, "weights"),
        pytest.param(2, "weights", marks=pytest.mark.slow),
        (2, "optimizer"),
        pytest.param(5, "optimizer", marks=pytest.mark.slow),
        (6, "weights"),
    ],
)
def test_r3_a_checkpoint(store, straight, tmp_path, monkeypatch, capsys, save, file):
    """One of the saves of a run fails: at its weights, or at the optimizer's state, which is larger."""
    argv, before = arguments(store, tmp_path, save_every=3, save_ranking=True), {}
    (size, *_) = {path.stat().st_size for path in straight.rglob("weights.safetensors")}
    num_bytes = size - (file == "weights")

    def at(folder: Path, *_: Any) -> bool:
        if len(calls) == save - 1:
            before.update(contents(folder))
        return len(calls) == save - 1

    with monkeypatch.context() as patch:
        calls = limit(patch, checkpoint, "save", num_bytes, at)
        refused(argv, capsys, "/batch-", "needs about ", f"{FULL}; what was saved before is untouched")
    run = only_run(tmp_path)
    assert len(calls) == save and bool(before) == (save > 1)
    assert contents(run / "checkpoints") == before and not left_overs(run)
    for path in checkpoint.complete(run / "checkpoints"):
        checkpoint.load(path)
    assert "could not be written" in (run / "run.log").read_text()
    assert finish([*argv, "--resume", "true"]) == run and differences(straight, run) == []


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("settings.yaml", 0),
        pytest.param("epochs.csv", 0, marks=pytest.mark.slow),
        ("epochs.csv", 1),
        ("metrics.json", 0),
    ],
)
def test_r3_the_small_files_of_a_run(store, straight, tmp_path, monkeypatch, capsys, name, number):
    argv, seen = arguments(store, tmp_path, save_every=3, save_ranking=True), []

    def at(_: RunFolder, file: str, __: str) -> bool:
        seen.extend([file] * (file == name))
        return file == name and len(seen) == number + 1

    with monkeypatch.context() as patch:
        limit(patch, RunFolder, "_write", 10, at)
        refused(argv, capsys, f"/{name}: could not be written, it needs ", FULL)
    folder = next(path.parent for path in tmp_path.rglob(".lock"))
    assert not left_overs(folder) and (folder / name).exists() == (number > 0)
    if number:
        assert (straight / name).read_bytes().startswith((folder / name).read_bytes())
    assert finish([*argv, "--resume", "true"]) == folder and differences(straight, folder) == []


def test_r3_the_log_of_a_run(store, straight, tmp_path, monkeypatch, capsys):
    """Its reason is told though the log cannot take it."""
    argv = arguments(store, tmp_path, save_every=3, save_ranking=True)
    with monkeypatch.context() as patch:
        limit(patch, RunLog, "_append", 200, lambda *_: True)
        refused(argv, capsys, "/run.log: could not be written, it needs ", FULL)
    run = only_run(tmp_path)
    assert finish([*argv, "--resume", "true"]) == run and differences(straight, run) == []


def test_r3_the_values_of_each_group(store, straight, tmp_path, monkeypatch, capsys):
    argv = arguments(store, tmp_path, save_every=3, save_ranking=True)
    with monkeypatch.context() as patch:
        limit(patch, measure, "save_per_group", 100, lambda *_: True)
        refused(argv, capsys, "/test_per_group.parquet: could not be written, it needs about ", FULL)
    run, name = only_run(tmp_path), "test_per_group.parquet"
    assert not left_overs(run) and not (run / name).exists() and not (run / "metrics.json").exists()
    assert finish([*argv, "--resume", "true"]) == run and differences(straight, run) == []
    assert (run / name).read_bytes() == (straight / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("exp", "flags", "name", "limited"),
    [
        ("predict", {}, "predictions.parquet", (predict, "write")),
        ("predict", {"format": "csv"}, "predictions.csv", (predict, "write")),
        ("predict", {"top_k": 3}, "predictions.parquet", (predict, "write")),
        ("submit-mind", {}, "prediction.txt", (predict, "write")),
        ("submit-mind", {}, "prediction.zip", (zipfile.ZipFile, "close")),
        ("export", {}, "items.safetensors", (export, "write")),
        ("export", {}, "users.safetensors", (export, "save_file")),
        ("export", {}, "item_ids.parquet", (pl.DataFrame, "write_parquet")),
    ],
)
def test_r3_predictions_and_exports(store, done, tmp_path, monkeypatch, capsys, exp, flags, name, limited):
    """Those of an earlier run, which was stopped just before its end, stay."""
    argv = arguments(store, tmp_path, exp=exp, load=done, **flags)
    run = finish(argv)
    (run / "metrics.json").unlink()
    before = contents(run)
    with monkeypatch.context() as patch:
        limit(patch, *limited, 100, lambda *given: limited[1] != "save_file" or given[1].name == name)
        refused(argv, capsys, f"/{name}: could not be written, it needs ", FULL)
    del before["run.log"]
    assert {key: value for key, value in contents(run).items() if key != "run.log"} == before
    assert {path.parent for path in run.rglob("*")} == {run}  # no temporary folder
    finish(argv)
    assert before.items() <= contents(run).items() and (run / "metrics.json").exists()


def test_r3_an_adapter(tmp_path):
    def save(value: float) -> None:
        weights = {"layer.lora_A": torch.full((50, 2), value)}
        write_adapter(tmp_path / "adapter", weights, "model.", {"peft_type": "LORA"}, {}, "base")

    save(1.0)
    before = contents(tmp_path)
    message = r"adapter: could not be written, it needs about 800 bytes, .* free \(File too large\)"
    with files_up_to(300), pytest.raises(WriteError, match=message):
        save(2.0)
    assert contents(tmp_path) == before and not left_overs(tmp_path)
    save(2.0)
    assert (read_weights(tmp_path / "adapter", "model.")["layer.lora_A"] == 2).all()


@pytest.mark.parametrize("num_bytes", [50, 300, 450])
def test_r3_a_cache_of_hidden_states(tmp_path, num_bytes):
    """What there was room for stays, and the rest is written when there is more."""
    cache, failed = cache_writer(tmp_path), []
    for index in cache.missing():
        try:
            with files_up_to(num_bytes):
                cache.write(index, of_items(states(), cache.shards[index]))
        except WriteError as error:
            assert ": could not be written, it needs " in str(error) and FULL in str(error)
            failed.append(index)
    assert cache.missing() == failed != [] and not left_overs(tmp_path)
    with files_up_to(100), pytest.raises(WriteError, match=r"\.json: could not be written, it needs "):
        for index in failed:
            cache.write(index, of_items(states(), cache.shards[index]))
        cache.finish()
    assert not left_overs(tmp_path) and not list(tmp_path.rglob(MANIFEST))
    build(tmp_path)
    assert torch.equal(check(tmp_path).gather(torch.arange(17)), states().bfloat16())


@pytest.mark.parametrize("overwrite", [True, False])
def test_r3_a_store(tmp_path, overwrite):
    """With less and less room, until the first file finds none."""
    whole = files(write(tmp_path / "old").path)
    sizes = sorted({len(data) for data in whole.values()})
    assert len(sizes) > 5
    for size in sizes:
        path = tmp_path / ("old" if overwrite else "new")
        message = r"(old|new)\.tmp-.*: could not be written, it needs (about )?[\d,]+ bytes"
        with files_up_to(size - 1), pytest.raises(WriteError, match=message):
            write(path, overwrite=overwrite, number=2)
        assert [each.name for each in tmp_path.iterdir()] == ["old"]
        assert files(tmp_path / "old") == whole
    write(path, overwrite=overwrite, number=2)
    Store.open(path, verify="full")


def test_r3_a_tokenization_of_a_store(tmp_path):
    (tmp_path / "lm").mkdir()
    write(tmp_path / "store").tokenizer("words").save(str(tmp_path / "lm" / "tokenizer.json"))
    before, choice = contents(tmp_path), TokenizerChoice("lm", tmp_path / "lm")
    for size in (50, 400, len(before["store/manifest.json"])):
        with files_up_to(size), pytest.raises(WriteError, match="could not be written, it needs "):
            add_tokenization(tmp_path / "store", "title", choice)
        assert contents(tmp_path) == before
    add_tokenization(tmp_path / "store", "title", choice)
    Store.open(tmp_path / "store", verify="full")


def test_r3_a_tokenization_whose_flush_fails(tmp_path, monkeypatch):
    """The new files go unless the manifest names them by then."""
    (tmp_path / "lm").mkdir()
    write(tmp_path / "store").tokenizer("words").save(str(tmp_path / "lm" / "tokenizer.json"))
    before, choice = contents(tmp_path), TokenizerChoice("lm", tmp_path / "lm")
    flushes, fsync, kept = [], os.fsync, 0
    while not kept:
        number, flushes = len(flushes), []

        def failing(handle: int, number: int = number, flushes: list[int] = flushes) -> None:
            flushes.append(handle)
            no_space() if len(flushes) > number else fsync(handle)

        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
            patch.setattr(os, "fsync", failing)
            add_tokenization(tmp_path / "store", "title", choice)
        kept = contents(tmp_path) != before
    assert number > 2
    assert "title@lm" in Store.open(tmp_path / "store", verify="full").items.field_names


def test_r3_depots(store, tmp_path, capsys):
    argv = ["export", "--store", str(store), "--out", str(tmp_path / "depots")]
    unitok.main(argv)
    sizes = sorted({len(data) for data in files(tmp_path / "depots").values()})
    shutil.rmtree(tmp_path / "depots")
    named = set()
    for size in sizes[::4]:
        with files_up_to(size - 1):
            said = refusal(unitok.main, argv, capsys)
        assert FULL in said and not list(tmp_path.iterdir())
        named.add(Path(said.partition(": could not be written, it needs ")[0]).suffix)
    assert {".json", ".pkl"} <= named


def test_r3_files_of_a_wheel(tmp_path):
    with zipfile.ZipFile(tmp_path / "wheel", "w") as archive:
        archive.writestr("folder/a", bytes(500))
    known = {"a": hashlib.sha256(bytes(500)).hexdigest()}
    wheel, out = Wheel(what="a", terms="", pin="a==1", folder="folder", files=known), tmp_path / "out"
    with files_up_to(100), pytest.raises(WriteError, match="/a: could not be written, it needs 500 bytes, "):
        unpack(wheel, tmp_path / "wheel", out)
    assert not list(out.iterdir())
    unpack(wheel, tmp_path / "wheel", out)
    assert [path.name for path in out.iterdir()] == ["a"]


def test_r3_a_table_of_vectors(tmp_path):
    def save(value: int, name: str = "t") -> None:
        new = NewTable(name, "items", tmp_path, tmp_path / "c", "x" * 20_000, overwrite=True)
        new.write(torch.full((50, 4), float(value)), Rows(50, "d"))

    save(1)
    before = contents(tmp_path)
    with files_up_to(100), pytest.raises(WriteError, match=r"t.safetensors: .* needs about 800 bytes"):
        save(2)
    assert contents(tmp_path) == before and not left_overs(tmp_path)
    with files_up_to(10_000), pytest.raises(WriteError, match=r"u.yaml: .* needs [\d,]+ bytes"):
        save(2, "u")
    assert not left_overs(tmp_path)
