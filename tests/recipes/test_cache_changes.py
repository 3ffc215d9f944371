"""What decides a cache's content makes a run write it anew (R6); a damaged one is not trained on (R7)."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

import worker
from legorec.data.text import TokenizerChoice
from legorec.data.tokenizations import add_tokenization
from legorec.data.writing.writer import StoreWriter
from legorec.lm.cut import LowerLayers
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.runs import refused, write_store

WHOLE = {"layer": 0, "lora": 0, "fast_eval": 0, "shard_mb": 1, "exp__cache__layers": "[-1]"}


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Path:
    """A store, a BERT and a cache of its states, in one folder."""
    folder = tmp_path_factory.mktemp("first") / "all"
    model = write_language_model(folder / "weights", "bert").folder
    write_language_store(folder / "store", bert=model)
    assert worker.main(split(folder)) == 0
    return folder


@pytest.fixture
def folder(first, tmp_path) -> Path:
    """The same to do things to."""
    shutil.copytree(first, tmp_path / "all")
    return tmp_path / "all"


def split(folder: Path, **more: Any) -> list[str]:
    places = (folder / "store", folder / "weights", folder / "cache", folder / "runs")
    return language_arguments(*places, "bert-naml", "bert-split", **{**WHOLE, **more})


def weights(folder: Path) -> None:
    file = folder / "weights" / "model.safetensors"
    tensors = load_file(file)
    tensors[min(tensors)].view(-1)[0] += 1e-3
    save_file(tensors, file, metadata={"format": "pt"})


def config(folder: Path) -> None:
    file = folder / "weights" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"layer_norm_eps": 1e-6}))


def tokenizer(folder: Path) -> None:
    """One that gives all titles the tokens they had."""
    file = folder / "weights" / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["vocab"]["never written"] = 90
    file.write_text(json.dumps(content))
    store(folder, changed=False)


def store(folder: Path, changed: bool = True) -> None:
    """The items' titles, written anew: as long as they were, with other first words."""
    items = StoreWriter.items

    def altered(self: StoreWriter, frame: pl.DataFrame, *more: Any) -> None:
        title = pl.col("title").str.replace(r"\w+", "w0")
        items(self, frame.with_columns(title=title) if changed else frame, *more)

    shutil.rmtree(folder / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoreWriter, "items", altered)
        write_store(folder / "store")
    add_tokenization(folder / "store", "title", TokenizerChoice("bert", folder / "weights"))


FLAGS: dict[str, dict[str, Any]] = {
    "template": {"data__text__template": "'[CLS] {title:20} [SEP]'"},
    "length": {"data__text__template": "'[CLS] Title: {title:3} Category: {category:4} [SEP]'"},
    "layer": {"exp__cache__layers": "[-2]"},
    "stored dtype": {"model__source__cache_dtype": "fp16"},
    "computed dtype": {"model__source__dtype": "bf16"},
    "attention": {"model__source__attention": "eager"},
}
FILES: dict[str, Callable[[Path], None]] = {
    "weights": weights, "config": config, "tokenizer": tokenizer, "titles": store,
}  # fmt: skip


def computed(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """How often a cache run calls the model."""
    calls, plain = [], LowerLayers.padded
    with monkeypatch.context() as patch:
        patch.setattr(
            LowerLayers, "padded", lambda *given, **named: (calls.append(1), plain(*given, **named))[1]
        )
        assert worker.main(argv) == 0
    return len(calls)


QUICK = ("template", "titles", "stored dtype")
SAMPLED = [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in (*FLAGS, *FILES)]


@pytest.mark.parametrize("what", SAMPLED)
def test_r6_a_change_of_anything_is_computed_anew_and_then_never_again(folder, monkeypatch, what):
    assert computed(split(folder), monkeypatch) == 0
    (there,) = (folder / "cache").iterdir()
    if what in FILES:
        FILES[what](folder)
    argv = split(folder, **FLAGS.get(what, {}))
    assert computed(argv, monkeypatch) > 0 and computed(argv, monkeypatch) == 0
    assert len(list((folder / "cache").iterdir())) == 2 and there.is_dir()


def test_r6_what_does_not_decide_it_is_not_computed_anew(folder, monkeypatch):
    """Where model and store lie and since when, how histories are cut, how many tokens run at once."""
    moved = folder.parent / "moved"
    folder.rename(moved)
    for path in moved.rglob("*"):
        os.utime(path, (1, 1))
    assert computed(split(moved, token_budget=64, seed=3, data__history__max_length=2), monkeypatch) == 0


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [flip, *(pytest.param(each, marks=pytest.mark.slow) for each in (cut, Path.unlink))]
)
def test_r7_a_damaged_cache_is_refused_before_training(folder, capsys, monkeypatch, damage):
    (shard,) = (folder / "cache").rglob("shard-*.safetensors")
    places = (folder / "store", folder / "weights", folder / "cache", folder / "runs")
    train = {
        "lr": 1e-3,
        "item_lr": 1e-4,
        "acc_batch": 1,
        "epoch_batch": 0,
        "layer": 2,
        "embed_hidden_size": 32,
    }
    argv = language_arguments(*places, "bert-naml", "tt-llm", **train)
    whole = shard.read_bytes()
    damage(shard)
    refused(argv, capsys, str(shard), "start the cache run again")
    assert not (folder / "runs").exists()
    assert computed(split(folder), monkeypatch) > 0 and shard.read_bytes() == whole
    assert damage is Path.unlink or "computed anew: 1 files" in capsys.readouterr().out
    assert worker.main(argv) == 0 and torch.is_tensor(load_file(shard)["values"])
