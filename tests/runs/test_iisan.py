"""IISAN by the worker: cache the means of a language model's layers, train and test on them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import legorec
import worker
from legorec.engine.stopping import Interrupted
from legorec.lm.cut import LowerLayers
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.store_data import open_data
from legorec.recipes.size import count, figures
from legorec.registry import find, gives, misfits
from legorec.settings import read_command_line
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.runs import only_run, refused, run_folders

PUBLISHED = {"layer": 0, "lora": 0, "fast_eval": 0, "embed_hidden_size": 32, "shard_mb": 1}
NAMES = ("llama", "bert")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: write_language_model(root / name, name).folder for name in NAMES}


@pytest.fixture(scope="module")
def store(tmp_path_factory, models) -> Path:
    return write_language_store(tmp_path_factory.mktemp("data") / "store", **models)


@pytest.fixture(scope="module")
def caches(tmp_path_factory, models, store) -> dict[str, Path]:
    """Caches of both models, written with the flags that the other language models are cached with."""
    roots = {name: tmp_path_factory.mktemp("cache") / name for name in NAMES}
    for name in NAMES:
        assert worker.main(split(store, models[name], roots[name], tmp_path_factory.mktemp("runs"))) == 0
    return roots


def split(store: Path, folder: Path, cache: Path | str, runs: Path, **more: Any) -> list[str]:
    name = folder.name
    flags = {**PUBLISHED, **more}
    return language_arguments(store, folder, cache, runs, f"{name}-iisan-naml", f"{name}-split", **flags)


def train(store: Path, folder: Path, cache: Path, runs: Path, exp: str = "tt-llm", **more: Any) -> list[str]:
    return language_arguments(store, folder, cache, runs, f"{folder.name}-iisan-naml", exp, **more)


def manifests(cache: Path) -> list[Path]:
    return sorted(cache.rglob("manifest.json"))


@pytest.mark.parametrize("name", ["bert", pytest.param("llama", marks=pytest.mark.slow)])
def test_cache_train_and_test(models, store, caches, tmp_path, name, monkeypatch):
    (manifest,) = manifests(caches[name])
    identity = json.loads(manifest.read_text())["identity"]
    assert manifest.parent.parent.name == "means" and identity["depth"] == 3
    assert identity["compute"] == "fp32/sdpa, mean at 1-3"
    base = (store, models[name], caches[name], tmp_path / "runs")
    with monkeypatch.context() as patch:
        patch.setattr(LowerLayers, "__init__", lambda *_, **__: pytest.fail("the model was loaded"))
        assert worker.main(train(*base, lr=0.001, batch_size=8, acc_batch=2, item_page_size=8)) == 0
    run = only_run(tmp_path / "runs")
    metrics = json.loads((run / "metrics.json").read_text())["test"]
    assert 0 <= metrics["metrics"]["gauc"] <= 1 and not (run / "adapter").exists()
    trained = legorec.load(run, device="cpu")
    items = trained.data.store.items
    (known,) = trained.score([items.ids[0]], [items.ids[1]])
    category = trained.data.store.vocabulary("category")[items.field("category").rows[1][0]]
    fresh = {"title": items.text("title")[1], "category": category}
    assert trained.score([items.ids[0]], [fresh])[0] == pytest.approx(known, abs=1e-2)
    assert worker.main(train(*base, exp="test-llm", load=run)) == 0
    (tested,) = (folder for folder in run_folders(tmp_path / "runs") if folder != run)
    assert json.loads((tested / "metrics.json").read_text())["test"] == metrics


def test_training_lowers_the_loss_and_leaves_the_model_alone(models, store, tmp_path):
    """Without a cache the layers run on every batch, and are not trained."""
    argv = train(store, models["bert"], "null", tmp_path, lr=0.01, epoch=1, local_dim=8)
    assert worker.main(argv) == 0
    settings = read_command_line(argv)
    model = build_model(settings, open_data(settings), torch.device("cpu"))
    assert not any(value.requires_grad for value in model.source.parameters())
    assert all(value.requires_grad for value in model.item_encoder.parameters())


def test_a_whole_cache_is_not_computed_again(models, store, caches, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(LowerLayers, "__init__", lambda *_, **__: pytest.fail("the model was loaded"))
    assert worker.main(split(store, models["bert"], caches["bert"], tmp_path)) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_what_a_cache_run_says(models, store, tmp_path, capsys):
    """The source says which depths; exp.cache.layers is for token states. Both caches lie side by side."""
    root, cache = models["llama"], tmp_path / "cache"
    assert worker.main(split(store, root, cache, tmp_path, layer_step=1, exp__cache__layers="[-1]")) == 0
    assert "the means of each item at depth 0, 1, 2, 3 of 3 layers" in capsys.readouterr().out
    tokens = language_arguments(
        store, root, cache, tmp_path, "llama-naml", "llama-split", exp__cache__layers="[-1]"
    )
    assert worker.main(tokens) == 0
    folders = [manifest.parent.relative_to(cache).parts[0][:7] for manifest in manifests(cache)]
    assert sorted(folders) == ["depth-2", "means"]


def test_a_stopped_cache_run_goes_on(models, store, tmp_path, monkeypatch):
    monkeypatch.setattr("legorec.recipes.cache.SHARD_UNIT", 1024)
    computed: list[int] = []
    plain = LowerLayers.padded

    def counted(self, ids, lengths, mean=False):
        computed.append(len(lengths))
        if len(computed) == 3:
            raise Interrupted(15)
        return plain(self, ids, lengths, mean)

    monkeypatch.setattr(LowerLayers, "padded", counted)
    argv = split(store, models["llama"], tmp_path / "cache", tmp_path, token_budget=100)
    assert worker.main(argv) == 128 + 15
    whole = list((tmp_path / "cache").rglob("shard-*.safetensors"))
    assert whole and not manifests(tmp_path / "cache")
    assert worker.main(argv) == 0
    assert len(manifests(tmp_path / "cache")) == 1
    assert sum(computed) - computed[2] < 60 + computed[1] + computed[2]  # whole shards were not run again


def test_a_missing_or_stale_cache_is_refused(models, store, caches, tmp_path, capsys):
    llama = models["llama"]
    missing = train(store, llama, tmp_path / "none", tmp_path)
    refused(missing, capsys, "there is no cache", "--exp config/exp/llama-split.yaml")
    base = (store, llama, caches["llama"], tmp_path)
    refused(train(*base, layer_step=1), capsys, "`compute` is", "at 0-1-2-3", "was asked for")
    refused(train(*base, data__text__template='"{title:3}"'), capsys, "`template` is")
    refused(train(*base, cache_dtype="fp16"), capsys, "`dtype` is 'bf16' in the cache")
    refused(train(*base, layer_step=4), capsys, "`step` must be between 1 and 3")
    refused(split(*base, layer_step=4), capsys, "`step` must be between 1 and 3")
    refused(split(store, llama, "null", tmp_path), capsys, "a cache run needs a `cache` folder to write to")
    altered = shutil.copytree(caches["llama"], tmp_path / "altered")
    (shard,) = altered.rglob("shard-*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    refused(train(store, llama, altered, tmp_path), capsys, "its content was altered")


def test_what_does_not_fit_is_refused(models, store, caches, tmp_path, capsys):
    base = train(store, models["bert"], caches["bert"], tmp_path)
    refused([*base, "--global_dim", "4", "--local_dim", "4"], capsys, "exclude each other, got 4 and 4")
    refused([*base, "--item_lr", "0.1"], capsys, "`item_lr` (0.1) has nothing to act on")
    for chosen in (
        {"source": "states", "item_encoder": "iisan"},
        {"source": "layers", "item_encoder": "bert"},
    ):
        ((kind, message),) = misfits(chosen)
        assert kind == "item_encoder" and f"gives {gives(find('source', chosen['source']))};" in message
    assert misfits({"source": "layers", "item_encoder": "iisan"}) == []


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_its_size_is_told_beforehand(models, store, caches, tmp_path, name, cached, capsys):
    cache = caches[name] if cached else "null"
    argv = train(store, models[name], cache, tmp_path, exp="size")
    settings = read_command_line(argv)
    found, real = figures(settings), build_model(settings, open_data(settings), torch.device("cpu"))
    assert found["parameters"]["total"] == count(real)
    assert found["memory"]["weights"] == sum(each.nbytes for each in (*real.parameters(), *real.buffers()))
    lm = found["language_model"]
    assert lm["loaded"] + lm["not_loaded"] == lm["whole"] and lm["loaded"] == count(real.source)["all"]
    assert (lm["loaded"] == 0) is cached
    layers = read_command_line([*argv, "--exp.cache.layers", "[-1]"])
    (planned,) = figures(layers)["cache"]
    assert found["cache"] == ([planned] if cached else [])
    (manifest,) = manifests(caches[name])
    written = sum(path.stat().st_size for path in manifest.parent.glob("*.safetensors"))
    assert planned["bytes"] <= written < planned["bytes"] + 1024 and planned["depth"] == 3
    assert found["memory"]["states"] == (planned["bytes"] if cached else 0)
    assert worker.main(argv) == 0
    out = " ".join(capsys.readouterr().out.split())
    partly = f"{lm['loaded']:,} of them are loaded" in out and lm["not_loaded"] > 0
    assert partly or f"all {lm['whole']:,} of" in out
    assert "those below" not in out and "tokens" not in out and ("rows" in out) is cached


def test_rows_of_an_item_are_counted_once_in_each_block(models, store, tmp_path):
    """Activations grow by what the further rows hold, not by all blocks for each of them."""
    found = []
    for step in (3, 1):
        argv = train(store, models["bert"], "null", tmp_path, exp="size", layer_step=step)
        found.append(figures(read_command_line(argv)))
    one, other = (each["memory"]["activations"] for each in found)
    items, width, inside = found[0]["step"]["items"], 32, 64
    assert found[0]["step"]["tokens"] == items
    assert other - one == items * 4 * (2 * width + 2 * 2 * (width + inside))
