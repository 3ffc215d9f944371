"""The two published commands on tiny models: cache the lower layers, train and test on them."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import legorec
import worker
from legorec.engine.stopping import Interrupted
from legorec.lm.cut import LowerLayers
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.launching import one_thread, prepared, shared
from tests.support.runs import only_run, refused, run_folders

SPLIT = {"layer": 0, "lora": 0, "fast_eval": 0, "shard_mb": 1}
TRAIN = {"lr": 0.001, "item_lr": 0.0001, "batch_size": 8, "acc_batch": 2, "epoch_batch": -4}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: write_language_model(root / name, name).folder for name in ("llama", "bert")}


@pytest.fixture(scope="module")
def store(tmp_path_factory, models) -> Path:
    return write_language_store(tmp_path_factory.mktemp("data") / "store", **models)


@pytest.fixture(scope="module")
def caches(tmp_path_factory, models, store) -> dict[str, Path]:
    """Caches of both models, written as the published command does."""
    roots = {name: tmp_path_factory.mktemp("cache") / name for name in models}
    for name, folder in models.items():
        runs = tmp_path_factory.mktemp("runs")
        more = {**SPLIT, "exp__cache__layers": "[-1, -2]", "embed_hidden_size": 32}
        argv = language_arguments(store, folder, roots[name], runs, f"{name}-naml", f"{name}-split", **more)
        assert worker.main(argv) == 0
    return roots


def split(store: Path, folder: Path, cache: Path, runs: Path, **more: Any) -> list[str]:
    return language_arguments(store, folder, cache, runs, "llama-naml", "llama-split", **SPLIT, **more)


def adapted_scores_are_peft_s(adapter: Path, model_folder: Path) -> bool:
    """What training wrote loads into the original model, layer numbers and all."""
    from peft import PeftModel
    from transformers import AutoModel

    adapted = PeftModel.from_pretrained(AutoModel.from_pretrained(model_folder), adapter)
    tuned = {name: value for name, value in adapted.named_parameters() if "lora_B" in name}
    return len(tuned) == 2 and all(
        "layer" in name and ".2." in name and value.any() for name, value in tuned.items()
    )


@pytest.mark.parametrize(
    "model",
    [
        "bert-nrms",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("llama-naml", "llama-nrms", "bert-naml")),
    ],
)
def test_r17_the_published_commands(models, store, caches, tmp_path, model):
    name = model.partition("-")[0]
    assert sorted(path.name[:7] for path in caches[name].iterdir()) == ["depth-1", "depth-2"]
    base = (store, models[name], caches[name], tmp_path / "runs", model)
    more = {**TRAIN, "layer": 2, "embed_hidden_size": 32}
    assert worker.main(language_arguments(*base, "tt-llm", **more)) == 0
    run = only_run(tmp_path / "runs")
    whole = json.loads((run / "metrics.json").read_text())
    metrics = whole["test"]
    assert list(whole["baselines"]) == ["random", "popularity", "cosine_tfidf", "cosine_states", "item_knn"]
    assert 0 <= metrics["metrics"]["gauc"] <= 1
    assert adapted_scores_are_peft_s(run / "adapter", models[name])
    trained = legorec.load(run, device="cpu")
    items = trained.data.store.items
    (known,) = trained.score([items.ids[0]], [items.ids[1]])
    category = trained.data.store.vocabulary("category")[items.field("category").rows[1][0]]
    fresh = {"title": items.text("title")[1], "category": category}
    assert trained.score([items.ids[0]], [fresh])[0] == pytest.approx(known, abs=1e-2)
    again = language_arguments(*base, "test-llm", layer=2, embed_hidden_size=32, load=run)
    assert worker.main(again) == 0
    (tested,) = (folder for folder in run_folders(tmp_path / "runs") if folder != run)
    assert json.loads((tested / "metrics.json").read_text()) == whole


def test_r6_whole_caches_are_not_computed_again(models, store, caches, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(LowerLayers, "__init__", lambda *_, **__: pytest.fail("the model was loaded"))
    assert worker.main(split(store, models["llama"], caches["llama"], tmp_path)) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_r6_a_changed_template_is_built_beside(models, store, caches, tmp_path):
    """Another text is another cache; the old one stays."""
    root = tmp_path / "cache"
    shutil.copytree(caches["llama"], root)
    argv = split(store, models["llama"], root, tmp_path, data__text__template='"{title:3}"')
    assert worker.main(argv) == 0
    assert len(list(root.iterdir())) == 4


def test_r9_a_stopped_cache_run_goes_on(models, store, tmp_path, monkeypatch, capsys):
    """What is whole on the disk is not computed again."""
    monkeypatch.setattr("legorec.recipes.cache.SHARD_UNIT", 4096)
    computed: list[int] = []
    plain = LowerLayers.padded

    def counted(self, ids, lengths):
        computed.append(len(lengths))
        if len(computed) == 3:
            raise Interrupted(15)
        return plain(self, ids, lengths)

    monkeypatch.setattr(LowerLayers, "padded", counted)
    argv = split(store, models["llama"], tmp_path / "cache", tmp_path, token_budget=100)
    assert worker.main(argv) == 128 + 15
    assert "go on with the same command" in capsys.readouterr().err
    whole = [path for path in (tmp_path / "cache").rglob("shard-*.safetensors")]
    assert 0 < len(whole) and not list((tmp_path / "cache").rglob("manifest.json"))
    before = sum(computed[:-1])
    assert worker.main(argv) == 0
    assert len(list((tmp_path / "cache").rglob("manifest.json"))) == 2
    assert sum(computed) - computed[2] < before + 60  # items of the whole shards were not run again


def test_what_a_cache_run_refuses(models, store, tmp_path, capsys, monkeypatch):
    root, llama = tmp_path / "cache", models["llama"]
    refused(split(store, llama, root, tmp_path, embed_hidden_size=31), capsys, "embed_dim", "(32)", "31")
    wrong = [part if part != "0" else "1" for part in split(store, llama, root, tmp_path)]
    refused(wrong, capsys, "`layer` is 0 while caching, got 1")
    refused(split(store, llama, root, tmp_path, exp__cache__layers="[0]"), capsys, "depth 0")
    refused(
        split(store, llama, root, tmp_path, exp__cache__layers="[9]"), capsys, "`depth` must be between -3"
    )
    no_cache = split(store, llama, "null", tmp_path)
    refused(no_cache, capsys, "a cache run needs a `cache` folder to write to")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(1, 1, 10))
    refused(split(store, llama, root, tmp_path), capsys, "the cache needs", "are free")
    assert not root.exists()


def test_a_model_whose_tokens_are_not_there_is_refused_by_name(models, tmp_path, capsys):
    store = write_language_store(tmp_path / "store", llama=models["llama"])
    other = shutil.copytree(models["bert"], tmp_path / "other")
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["more"] = 90
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    argv = split(store, other, tmp_path / "cache", tmp_path)
    refused(argv, capsys, "(llama, words) is that of", "process/retokenize.py", str(other))
    named = split(store, models["llama"], tmp_path / "cache", tmp_path, tokenizer="words")
    refused(named, capsys, "'words' is not that of", "'llama' is")


def test_embed_names_the_checkpoints_own_table(models, store, caches, tmp_path, capsys):
    own = load_file(models["llama"] / "model.safetensors")["embed_tokens.weight"]
    layer = tmp_path / "embed.yaml"
    layer.write_text(f"name: token\ntables:\n  - {{vocabulary: llama, path: {tmp_path}/table.safetensors}}\n")
    argv = [*split(store, models["llama"], caches["llama"], tmp_path), "--embed", str(layer)]
    save_file({"table": own}, tmp_path / "table.safetensors")
    assert worker.main(argv) == 0
    save_file({"table": own[:, :16].contiguous()}, tmp_path / "table.safetensors")
    refused(argv, capsys, "is (97, 16), the token table of", "(97, 32)")
    save_file({"table": torch.roll(own, 1, 0)}, tmp_path / "table.safetensors")
    refused(argv, capsys, "is not the token table of", "its rows differ")


def test_training_without_a_cache_says_how_to_write_it(models, store, tmp_path, capsys):
    base = (store, models["llama"], tmp_path / "none", tmp_path, "llama-naml", "tt-llm")
    refused(
        language_arguments(*base, layer=2), capsys, "there is no cache", "--exp config/exp/llama-split.yaml"
    )


def bert_split(store: Path, folder: Path, cache: Path, runs: Path) -> list[str]:
    return language_arguments(store, folder, cache, runs, "bert-naml", "bert-split", **SPLIT, **TOP_LAYERS)


TOP_LAYERS = {"exp__cache__layers": "[-1, -2]"}
SMALL_SHARDS = "import legorec.recipes.cache as cache\ncache.SHARD_UNIT = 4096"


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 3])
def test_several_processes_write_the_cache_of_one_and_train_on_it(
    models, store, tmp_path, monkeypatch, number
):
    """The shards are divided, the files the same; then training gives what one gives, to Adam's rounding."""
    monkeypatch.setattr("legorec.recipes.cache.SHARD_UNIT", 4096)
    roots = {"one": tmp_path / "one", "several": tmp_path / "several"}
    with one_thread():
        assert worker.main(bert_split(store, models["bert"], roots["one"], tmp_path)) == 0
    argv = bert_split(store, models["bert"], roots["several"], tmp_path)
    process = prepared(tmp_path, SMALL_SHARDS, number, argv)
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0, out
    assert out.count("items a second") == 1
    names = [path.relative_to(roots["one"]) for path in sorted(roots["one"].rglob("*.safetensors"))]
    assert len(names) > 4 and not list(roots["several"].rglob("*.lock"))
    for name in names:
        for key, value in load_file(roots["one"] / name).items():
            assert torch.equal(load_file(roots["several"] / name)[key], value), name
    measured = []
    for name, count in (("one", 1), ("several", number)):
        base = (store, models["bert"], roots[name], tmp_path / name / "runs", "bert-naml", "tt-llm")
        more = {**TRAIN, "layer": 2, "lora_dropout": 0.0, "acc_batch": 1, "epoch_batch": 0, "epoch": 1}
        argv = language_arguments(*base, **more)
        with one_thread():
            status, out = (worker.main(argv), "") if count == 1 else shared(count, argv)
        assert status == 0, out
        measured.append(json.loads((only_run(tmp_path / name / "runs") / "metrics.json").read_text()))
    for metric, value in measured[0]["test"]["metrics"].items():
        assert measured[1]["test"]["metrics"][metric] == pytest.approx(value, abs=1e-3), metric
