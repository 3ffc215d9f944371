"""A bit that is flipped, or a file that is cut short, is told by the file's name, by the worker (R2, R7)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import legorec
import worker
from legorec.data.store import Store
from legorec.data.vectors import NewTable, Rows
from legorec.engine import checkpoint
from legorec.files.sealed import SEAL, load_sealed, save_sealed
from legorec.recipes.outputs.session import settings_file
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.runs import arguments, contents, differences, finish, only_run, refused

MATRIX = torch.arange(12, dtype=torch.float32).reshape(4, 3)


@contextmanager
def damaged(file: Path, place: int | None) -> Iterator[None]:
    """A file with a bit flipped in one byte, or without its second half; afterwards as it was."""
    facts, whole = file.stat(), file.read_bytes()
    data = bytearray(whole)
    if place is None:
        del data[len(data) // 2 :]
    else:
        data[place] ^= 1
    file.write_bytes(data)
    try:
        yield
    finally:
        file.write_bytes(whole)
        os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def places(file: Path) -> list[int | None]:
    """Bytes at the beginning, in the middle and at the end; and a cut."""
    size = file.stat().st_size
    return [0, min(10, size - 1), size // 2, size - 1, None]


def files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    assert found
    return found


def refused_for(argv: list[str], capsys: pytest.CaptureFixture[str], file: Path, first: int = 0) -> None:
    """Whatever is done to a file, it is told by its name, in one line."""
    for place in places(file)[first:]:
        with damaged(file, place):
            refused(argv, capsys, str(file))


def test_r7_every_file_of_a_store(store, tmp_path, capsys):
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    for file in files(copy):
        refused_for(arguments(copy, tmp_path / "runs"), capsys, file, first=2)
    assert not (tmp_path / "runs").exists()
    assert worker.main([*arguments(copy, tmp_path / "runs", epoch=1)]) == 0


@pytest.mark.parametrize(
    "exp", ["export", *(pytest.param(name, marks=pytest.mark.slow) for name in ("test", "predict"))]
)
def test_r2_every_file_of_the_best_checkpoint(store, copy, tmp_path, capsys, exp):
    best = checkpoint.read_state(checkpoint.complete(copy / "checkpoints")[-1])["best"]["checkpoint"]
    for file in files(copy / "checkpoints" / best):
        told = str(file.parent) if file.name == "manifest.json" else str(file)
        for place in places(file) if exp == "test" else [None]:
            with damaged(file, place):
                refused(arguments(store, tmp_path / "more", exp=exp, load=copy), capsys, told)
                with pytest.raises(ValueError, match=file.parent.name):
                    legorec.load(copy, device="cpu")
    assert not (tmp_path / "more").exists()
    legorec.load(copy, device="cpu")


@pytest.mark.slow
def test_r2_every_file_of_the_newest_checkpoint(store, tmp_path, capsys):
    """It is told, with the way out, and never passed over; without it the run ends as the straight one."""
    argv = arguments(store, tmp_path / "runs", save_every=3, keep_epochs=2)
    straight = finish(arguments(store, tmp_path / "straight", save_every=3, keep_epochs=2))
    run = finish(argv)
    (run / "metrics.json").unlink()
    older, newest = checkpoint.complete(run / "checkpoints")
    way_out = f"remove {newest.name} to go on from {older.name}"
    for file in files(newest):
        for place in places(file)[2:]:
            with damaged(file, place):
                refused([*argv, "--resume", "true"], capsys, str(newest), way_out)
    (newest / "manifest.json").unlink()
    for more in ({}, {"exp": "test", "load": run}):
        given = arguments(store, tmp_path / "more", **more) if more else [*argv, "--resume", "true"]
        refused(given, capsys, f"{newest} was altered: it has no manifest.json", way_out)
    shutil.rmtree(newest)
    assert worker.main([*argv, "--resume", "true"]) == 0
    assert differences(straight, run) == []


def test_r2_a_torn_checkpoint_that_is_the_only_one(store, copy, capsys):
    (copy / "metrics.json").unlink()
    for each in checkpoint.complete(copy / "checkpoints"):
        (each / "manifest.json").unlink()
    for flags in ([], ["--resume", "true"]):
        refused([*arguments(store, copy.parents[2]), *flags], capsys, "has no manifest.json; remove batch-")


def test_r7_the_settings_of_a_run(store, copy, tmp_path, capsys):
    file = settings_file(copy)
    for place in range(0, file.stat().st_size, 13):
        before = file.read_bytes().partition(b"\n")[2]
        with damaged(file, place):
            if file.read_bytes().startswith(b"# digest of what follows: "):
                with pytest.raises(ValueError, match="settings.yaml was altered since the run wrote it"):
                    settings_file(copy)
            else:  # no more than a comment
                assert file.read_bytes().partition(b"\n")[2] == before
    for place in places(file):
        with damaged(file, place):
            if place == 10:
                continue  # in the comment
            refused(arguments(store, tmp_path / "more", exp="test", load=copy), capsys, str(file))
            with pytest.raises(ValueError, match="settings.yaml"):
                legorec.load(copy, device="cpu")
    file.write_text(file.read_text().partition("\n")[2])  # as the message has it
    legorec.load(copy, device="cpu")


def test_a_sealed_file_tells_of_every_flip(tmp_path):
    file = tmp_path / "x.safetensors"
    save_sealed({"a": MATRIX, "b": MATRIX.half()}, file, {"of": "mine", "format": "pt"})
    whole = file.read_bytes()
    for place in range(len(whole)):
        with damaged(file, place):
            try:
                found = load_sealed(file)
            except ValueError as error:
                assert str(file) in str(error)
                continue
            # Where the name of the digest was hit, nothing else was; a space in the header is no content.
            assert SEAL.encode() not in file.read_bytes() or whole[place] == ord(" "), place
            assert torch.equal(found["a"], MATRIX) and torch.equal(found["b"], MATRIX.half())
    assert file.read_bytes() == whole
    save_sealed({"a": MATRIX, "b": MATRIX.half()}, file, {"format": "pt", "of": "mine"})
    assert file.read_bytes() == whole


def test_a_file_of_others_is_read_without_a_seal(tmp_path):
    save_file({"a": MATRIX}, tmp_path / "x.safetensors")
    assert torch.equal(load_sealed(tmp_path / "x.safetensors")["a"], MATRIX)


@pytest.mark.parametrize("kind", ["table", "codes"])
def test_r7_tables_and_codes(store, tmp_path, capsys, kind):
    opened = Store.open(store)
    vocabulary = "words" if kind == "table" else None
    new = NewTable("mine", vocabulary, tmp_path, tmp_path, "")
    if kind == "table":
        rows = Rows.of_tokens(opened.tokenizer("words"))
        new.write(torch.randn(rows.count, 16), rows)
        argv = arguments(store, tmp_path / "runs", embed=new.layer_path)
    else:
        rows = Rows.of_items(opened)
        new.write_codes(torch.randint(0, 8, (rows.count, 2)).numpy(), [8, 8], rows)
        source = {"model__source__name": "codes", "model__user_encoder__name": "semantic"}
        argv = arguments(store, tmp_path / "runs", embed=new.layer_path, **source)
    refused_for(argv, capsys, new.path)
    header = new.path.read_bytes()
    for text in (b"legorec.rows", b"F32" if kind == "table" else b"I32", b"data_offsets"):
        with damaged(new.path, header.index(text)):
            refused(argv, capsys, str(new.path))


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A model, a store in its tokens, a cache, and a run that has tuned an adapter."""
    root = tmp_path_factory.mktemp("language")
    model = write_language_model(root / "llama", "llama").folder
    store = write_language_store(root / "store", llama=model)
    names = (store, model, root / "cache", root / "runs", "llama-naml")
    split = {"layer": 0, "lora": 0, "fast_eval": 0, "exp__cache__layers": "[2]", "embed_hidden_size": 32}
    assert worker.main(language_arguments(*names, "llama-split", **split)) == 0
    train = {"layer": 2, "embed_hidden_size": 32, "lr": 0.001, "item_lr": 0.0001, "batch_size": 8, "epoch": 1}

    def command(runs: Path, **more: Any) -> list[str]:
        return language_arguments(store, model, root / "cache", runs, "llama-naml", "tt-llm", **train, **more)

    assert worker.main(command(root / "runs")) == 0
    return {"command": command, "cache": root / "cache", "run": only_run(root / "runs")}


@pytest.mark.slow
def test_r7_every_file_of_a_cache(language, tmp_path, capsys):
    argv = language["command"](tmp_path)
    before = contents(language["cache"])
    for file in files(language["cache"]):
        notes = file.name == "identity.json" or file.with_suffix(".safetensors").exists()
        if file.suffix == ".json" and notes:  # for those who build it, who write them again
            continue
        refused_for(argv, capsys, file)
    assert contents(language["cache"]) == before and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_r7_an_adapter(language, tmp_path, capsys):
    shutil.copytree(language["run"] / "adapter", tmp_path / "adapter")
    argv = language["command"](tmp_path / "runs", adapter=tmp_path / "adapter")
    refused_for(argv, capsys, tmp_path / "adapter" / "adapter_model.safetensors")
    with damaged(tmp_path / "adapter" / "adapter_config.json", None):
        refused(argv, capsys, str(tmp_path / "adapter" / "adapter_config.json"))
    assert worker.main(argv) == 0
