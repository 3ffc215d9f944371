"""The cache run in less memory than the layers take: the same files, and what it says (R4, R9)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import worker
from legorec.engine.stopping import Interrupted
from legorec.lm.cut import LowerLayers, UpperLayers
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.runs import refused


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("models") / "llama", "llama").folder


@pytest.fixture(scope="module")
def store(tmp_path_factory, model) -> Path:
    return write_language_store(tmp_path_factory.mktemp("data") / "store", llama=model)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch) -> None:
    monkeypatch.setattr("legorec.recipes.cache.SHARD_UNIT", 4096)


def split(store: Path, model: Path, cache: Path, kind: str = "llama-naml", **more: Any) -> list[str]:
    flags = {"layer": 0, "shard_mb": 1, "token_budget": 64} | more
    if "iisan" in kind:
        flags["layer_step"] = 1
        del flags["layer"]
    return language_arguments(store, model, cache, cache.parent / "runs", kind, "llama-split", **flags)


def contents(root: Path) -> dict[str, bytes]:
    files = [*root.rglob("*.safetensors"), *root.rglob("manifest.json")]
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in files}


def least(argv: list[str], capsys) -> str:
    """The memory that the refusal of less asks for."""
    assert worker.main([*argv, "--memory_gb", "1e-9"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "got 1e-09; a smaller --token_budget, --shard_mb or --lm_dtype" in said
    found = re.search(r"`memory_gb` must be at least (\S+) to cache \S+ in fp32 one layer at a time", said)
    assert found is not None, said
    return found[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama-naml", "llama-iisan-naml"])
def test_the_files_are_those_of_the_model_in_one_piece(model, store, tmp_path, capsys, monkeypatch, kind):
    assert worker.main(split(store, model, tmp_path / "whole", kind)) == 0
    assert "one at a time" not in capsys.readouterr().out
    argv = split(store, model, tmp_path / "streamed", kind)
    enough = least(argv, capsys)
    monkeypatch.setattr("legorec.recipes.cache.build_caches", lambda *_, **__: pytest.fail("in one piece"))
    assert worker.main([*argv, "--memory_gb", enough]) == 0
    said = capsys.readouterr().out
    assert f"more than --memory_gb {float(enough):g} gives: they are read one at a time" in said
    assert re.search(r"\d+ items through \d layers in .* waiting for weights", said)
    assert contents(tmp_path / "streamed") == contents(tmp_path / "whole") != {}


@pytest.mark.slow
def test_r9_a_stopped_run_goes_on(model, store, tmp_path, capsys, monkeypatch):
    """Also in another way of reading the layers."""
    assert worker.main(split(store, model, tmp_path / "whole")) == 0
    argv = split(store, model, tmp_path / "cache")
    enough, calls, plain = least(argv, capsys), [], UpperLayers.padded

    def counted(self, values, lengths):
        calls.append(len(lengths))
        if len(calls) == 30:
            raise Interrupted(15)
        return plain(self, values, lengths)

    with monkeypatch.context() as patch:
        patch.setattr(UpperLayers, "padded", counted)
        assert worker.main([*argv, "--memory_gb", enough]) == 128 + 15
    assert "go on with the same command" in capsys.readouterr().err
    done = set(contents(tmp_path / "cache"))
    assert done and not any("manifest" in name for name in done)
    assert worker.main(argv) == 0
    assert contents(tmp_path / "cache") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_what_is_free_is_never_refused(model, store, tmp_path, capsys, monkeypatch):
    """Without the flag, layers are read one at a time where little is free, and it is said."""
    monkeypatch.setattr("legorec.recipes.cache.free_memory", lambda *_: 1)
    assert worker.main(split(store, model, tmp_path / "cache")) == 0
    assert "more than is free: they are read one at a time, for at most 1 shards" in capsys.readouterr().out
    monkeypatch.setattr("legorec.recipes.cache.free_memory", lambda *_: None)
    monkeypatch.setattr("legorec.recipes.cache.stream_caches", lambda *_, **__: pytest.fail("streamed"))
    assert worker.main(split(store, model, tmp_path / "other")) == 0


@pytest.mark.slow
def test_only_the_depths_that_are_missing_are_loaded(model, store, tmp_path, monkeypatch):
    argv = split(store, model, tmp_path / "cache")
    assert worker.main(argv) == 0
    whole = contents(tmp_path / "cache")
    next((tmp_path / "cache").glob("depth-1*/shard-*0.safetensors")).unlink()
    asked, plain = [], LowerLayers.__init__

    def noted(self, pretrained, depths, *given, **named):
        asked.append(list(depths))
        plain(self, pretrained, depths, *given, **named)

    monkeypatch.setattr(LowerLayers, "__init__", noted)
    assert worker.main(argv) == 0
    assert asked[-1] == [1] and contents(tmp_path / "cache") == whole


def test_memory_must_be_more_than_nothing(model, store, tmp_path, capsys):
    refused(split(store, model, tmp_path / "cache", memory_gb=0), capsys, "exp.cache.memory_gb", "0")
