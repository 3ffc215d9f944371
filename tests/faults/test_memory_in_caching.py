"""A memory error in the lower layers halves the batch of tokens: the same caches and vectors (R21)."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch

import worker
from legorec.data.ragged import Ragged
from legorec.data.writing.progress import Progress
from legorec.halving import NoMemoryError
from legorec.lm.build_cache import build_caches
from legorec.lm.cut import PASS, LowerLayers
from legorec.lm.item_states import cache_identity, mean_rows
from legorec.lm.pretrained import Pretrained
from legorec.lm.state_cache import CacheIdentity, CacheWriter, HiddenStateCache
from legorec.lm.tables import item_vectors
from legorec.sources.layers import LayersSource
from tests.support.language_runs import (
    language_arguments,
    text_catalog,
    write_language_model,
    write_language_store,
)
from tests.support.runs import refused
from tests.support.short_memory import ERRORS, shorten
from tests.support.tiny import packed_ids

BUDGET = "--exp.cache.token_budget"
SAID = rf"out of memory with {BUDGET} (\d+); going on with {BUDGET} (\d+), which gives the same result"
LENGTHS = [3, 0, 7, 1, 7, 2, 0, 30, 5]
NUM_ITEMS = 12


def written(
    root: Path, pretrained: Pretrained, mean: bool, said: list[str], budget: int = 64
) -> torch.Tensor:
    """All states at two depths, or the means, of a cache that was built in several shards."""
    catalog, depths, kept = text_catalog(NUM_ITEMS), [1, 3], {"stored": "fp32", "computed": "fp32"}
    lengths = catalog.lengths.sum(1)
    shards = {"shard_bytes": 1500}

    def identity(depth: int) -> CacheIdentity:
        mean_at = depths if mean else ()
        return cache_identity(catalog, pretrained, depth, attention="sdpa", mean_at=mean_at, **kept)

    if mean:
        writers = [CacheWriter(root, identity(3), mean_rows(lengths, depths).numpy(), **shards)]
    else:
        writers = [CacheWriter(root, identity(depth), lengths.numpy(), **shards) for depth in depths]
    assert len(writers[0].shards) > 1
    lower = LowerLayers(pretrained, depths)
    build_caches(writers, lower, catalog, token_budget=budget, mean=mean, say=said.append)
    assert PASS.get(None) is None  # what a failed attempt had computed by then is let go
    items = torch.arange(NUM_ITEMS)
    return torch.cat([HiddenStateCache.open(root, each.identity).gather(items) for each in writers])


@pytest.mark.parametrize("mean", [False, True], ids=["states", "means"])
@pytest.mark.parametrize("model_type, error", [("llama", "cuda"), ("bert", "cpu")])
def test_r21_the_cache_is_the_same(checkpoint, tmp_path, monkeypatch, model_type, error, mean):
    """In fp32 to 1e-6 of the largest value; it stays halved through all shards."""
    pretrained, said = checkpoint(model_type), []
    wanted = written(tmp_path / "whole", pretrained, mean, said)
    assert said == []
    asked = shorten(monkeypatch, "tokens", 10, ERRORS[error])
    found = written(tmp_path / "halved", pretrained, mean, said)
    assert (found - wanted).abs().max() <= 1e-6 * max(1.0, float(wanted.abs().max()))
    # Each time from where it stood: later shards may hold longer items.
    steps = [re.fullmatch(SAID, line).groups() for line in said]
    assert [int(before) for before, _ in steps] == [64, *(int(size) for _, size in steps[:-1])]
    assert 0 < sum(each > 10 for each in asked) <= math.log2(64 / int(steps[-1][1]))


@pytest.mark.parametrize("mean", [False, True], ids=["states", "means"])
def test_r21_an_item_that_does_not_fit_is_named(checkpoint, tmp_path, monkeypatch, mean):
    """By its row in the store, not in the shard; the shards before it are whole, and are kept."""
    lengths = text_catalog(NUM_ITEMS).lengths.sum(1)
    longest = int(lengths.argmax())
    shorten(monkeypatch, "tokens", int(lengths.max()) - 1)
    with pytest.raises(NoMemoryError, match=rf"with row {longest} of the items alone .*{BUDGET} cannot be"):
        written(tmp_path, checkpoint("bert"), mean, [])


def test_r21_a_cache_run_goes_on_and_one_that_cannot_says_so(tmp_path, monkeypatch, capsys):
    lm = write_language_model(tmp_path / "bert", "bert").folder
    store = write_language_store(tmp_path / "store", bert=lm)
    places, flags = (tmp_path / "runs", "bert-naml", "bert-split"), {"layer": 0, "token_budget": 100}
    argv = [
        *language_arguments(store, lm, tmp_path / "cache", *places, **flags),
        "--exp.cache.layers",
        "[-1]",
    ]
    with monkeypatch.context() as patch:
        shorten(patch, "tokens", 3)
        refused(
            argv, capsys, "error: out of memory with row ", " of the items alone (CUDA out of memory. Tried"
        )
    shorten(monkeypatch, "tokens", 60)
    assert worker.main(argv) == 0
    said = f"out of memory with {BUDGET} 100; going on with {BUDGET} 50, which gives the same result"
    assert capsys.readouterr().out.count(said) == 1


def test_r21_item_vectors_are_the_same(checkpoint, monkeypatch, capsys):
    pretrained = checkpoint("bert")
    items = Ragged.from_lengths(packed_ids(LENGTHS)[0].int().numpy(), LENGTHS)
    wanted = item_vectors(pretrained, items, "mean", token_budget=64)
    shorten(monkeypatch, "tokens", 30)
    found = item_vectors(pretrained, items, "mean", token_budget=64, progress=Progress.on_stderr())
    assert (found - wanted).abs().max() <= 1e-5
    said = (
        "out of memory with --token_budget 64; going on with --token_budget 32, which gives the same result"
    )
    assert capsys.readouterr().err.count(said) == 1
    shorten(monkeypatch, "tokens", 29)
    with pytest.raises(
        NoMemoryError, match="with row 7 of the items alone .*--token_budget cannot be halved"
    ):
        item_vectors(pretrained, items, "mean", progress=Progress.on_stderr())


def test_r21_layers_that_run_on_every_batch_give_the_same(checkpoint, monkeypatch):
    items, source = torch.arange(NUM_ITEMS), LayersSource(text_catalog(), str(checkpoint("bert").folder), 2)
    wanted = source(items).values
    asked = shorten(monkeypatch, "tokens", 10)
    with pytest.warns(UserWarning, match="out of memory with batches of tokens of 8192; going on with"):
        found = source(items).values
    assert (found - wanted).abs().max() <= 1e-6 * max(1.0, float(wanted.abs().max()))
    before = len(asked)
    assert torch.equal(source(items).values, found) and max(asked[before:]) <= 10
