"""Means of a language model's layers: those of the whole model, cached or computed, from the right cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from legorec.halving import Halving
from legorec.lm.build_cache import build_caches, mean_states
from legorec.lm.cut import PASS, LowerLayers
from legorec.lm.item_states import cache_identity, mean_depths, mean_rows, means_folder
from legorec.lm.model_types import part
from legorec.lm.pretrained import Pretrained
from legorec.lm.state_cache import CacheWriter
from legorec.sources.layers import LayersSource
from legorec.sources.states import StatesSource
from tests.support.language_runs import NO_DROPOUT, text_catalog
from tests.support.tiny import tiny, whole

NAMES = ("llama", "bert", "gpt2", "opt")
NUM_ITEMS = 12


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pretrained]:
    root = tmp_path_factory.mktemp("models")
    return {name: tiny(name, root / name, **NO_DROPOUT) for name in NAMES}


def source(pretrained: Pretrained, step: int = 1, cache: Path | None = None, **options) -> LayersSource:
    options = {"cache_dtype": "fp32"} | options
    return LayersSource(
        text_catalog(), str(pretrained.folder), step, str(cache) if cache is not None else None, **options
    )


def write_means(root: Path, pretrained: Pretrained, step: int, stored: str = "fp32") -> None:
    """A cache of several shards, built as the cache run does."""
    catalog, depths = text_catalog(), mean_depths(pretrained, step)
    identity = cache_identity(
        catalog, pretrained, depths[-1], stored=stored, computed="fp32", attention="sdpa", mean_at=depths
    )
    rows = mean_rows(catalog.lengths.sum(1), depths).numpy()
    writer = CacheWriter(means_folder(str(root)), identity, rows, shard_bytes=700)
    assert len(writer.shards) > 1
    build_caches([writer], LowerLayers(pretrained, depths), catalog, token_budget=12, mean=True)


def all_depths(pretrained: Pretrained, ids: Tensor) -> list[Tensor]:
    """The states of one text at every depth, as transformers runs it; the last ones from before the norm."""
    model, seen = whole(pretrained), []

    def note(layer, inputs, out):
        seen.append((out[0] if isinstance(out, tuple) else out)[0])

    layers = part(model, pretrained.family.layers)
    layers[0].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0][0]))
    for layer in layers:
        layer.register_forward_hook(note)
    with torch.no_grad():
        model(input_ids=ids[None])
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("step", [1, 2, 3])
def test_an_item_is_the_means_of_its_tokens_in_the_whole_model(models, name, step):
    depths = {1: [0, 1, 2, 3], 2: [1, 3], 3: [0, 3]}[step]
    found = source(models[name], step)
    assert found.depths == depths and found.depth == len(depths) and found.dim == 32
    assert found.field_kinds == ("layer",) and found.pretrained.num_layers == 3
    out, catalog = found(torch.arange(NUM_ITEMS)), text_catalog()
    present = catalog.lengths[:, 0] > 0
    assert torch.equal(out.lengths, present.long().unsqueeze(1) * len(depths)) and not present[3]
    rows = out.values.view(-1, len(depths), 32)
    for row, item in zip(rows, present.nonzero()[:, 0], strict=True):
        every = all_depths(models[name], catalog.tokens(item[None]).ids)
        expected = torch.stack([every[depth].mean(0) for depth in depths])
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "bert"])
@pytest.mark.parametrize("step", [1, 2])
def test_cached_means_are_those_computed(models, tmp_path, name, step):
    write_means(tmp_path, models[name], step)
    cached, live = source(models[name], step, tmp_path), source(models[name], step)
    assert not list(cached.parameters()) and list(live.parameters())
    for items in (torch.arange(NUM_ITEMS), torch.tensor([5, 3, 0, 5]), torch.tensor([3]), torch.arange(0)):
        one, other = cached(items), live(items)
        assert torch.equal(one.lengths, other.lengths) and not other.values.requires_grad
        torch.testing.assert_close(one.values, other.values, rtol=0, atol=1e-6)


def test_new_items_run_through_the_layers(models, tmp_path):
    write_means(tmp_path, models["llama"], 2)
    found, items = source(models["llama"], 2, tmp_path), torch.tensor([5, 3, 0])
    known, new = found(items), found.embed(text_catalog().tokens(items))
    assert torch.equal(known.lengths, new.lengths) and not list(found.parameters())
    torch.testing.assert_close(known.values, new.values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("stored", ["bf16", "fp16"])
def test_half_precision_is_near(models, tmp_path, stored):
    write_means(tmp_path, models["bert"], 2, stored)
    half = source(models["bert"], 2, tmp_path, cache_dtype=stored)(torch.arange(NUM_ITEMS))
    exact = source(models["bert"], 2)(torch.arange(NUM_ITEMS))
    assert half.values.dtype == torch.float32
    torch.testing.assert_close(half.values, exact.values, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_means_are_of_full_precision_whatever_the_batches(models, dtype):
    lower, tokens = LowerLayers(models["llama"], [1, 3], dtype), text_catalog().tokens(torch.arange(12))
    lengths = tokens.lengths.sum(1)
    seen: list[int] = []
    small = mean_states(lower, tokens.ids, lengths, Halving(8, ""), torch.float64, seen.append)
    whole_batch = mean_states(lower, tokens.ids, lengths, Halving(10**6, ""), torch.float64)
    assert sum(seen) == int((lengths > 0).sum()) and len(seen) > 1
    torch.testing.assert_close(small, whole_batch, rtol=0, atol=1e-6 if dtype == "fp32" else 2e-2)
    states = lower(tokens.ids, lengths)
    ends = np.append(0, lengths.cumsum(0).numpy())
    rows = [
        states[depth][start:stop].double().mean(0)
        for start, stop in zip(ends, ends[1:], strict=False)
        for depth in (1, 3)
        if stop > start
    ]
    torch.testing.assert_close(small, torch.stack(rows), rtol=0, atol=1e-6 if dtype == "fp32" else 2e-2)


def test_few_states_are_held_at_a_time(models):
    """With ``mean`` each depth is reduced as it goes by, not when all layers have run."""
    lower = LowerLayers(models["bert"], [0, 1, 2, 3])
    seen = []
    layers = part(lower.model, models["bert"].family.layers)
    layers[2].register_forward_hook(lambda *_: seen.extend(map(len, PASS.get().seen.values())))
    ids = torch.tensor([5, 6, 7, 8, 9])
    means = lower.padded(ids, np.array([3, 2]), mean=True)
    assert seen == [2, 2, 2] and all(value.shape == (2, 32) for value in means.values())
    assert all(value.shape == (5, 32) for value in lower.padded(ids, np.array([3, 2])).values())


@pytest.mark.parametrize("step", [0, -1, 4])
def test_a_step_must_leave_two_depths(models, step):
    with pytest.raises(ValueError, match=rf"`step` must be between 1 and 3, .*got {step}$"):
        source(models["llama"], step)


def test_items_must_be_text(models):
    plain = text_catalog()
    plain.text = None
    with pytest.raises(ValueError, match="as one text, and the data layer gives `fields`"):
        LayersSource(plain, str(models["bert"].folder))


def test_neither_cache_is_taken_for_the_other(models, tmp_path):
    pretrained, catalog = models["llama"], text_catalog()
    kept = {"stored": "fp32", "computed": "fp32", "attention": "sdpa"}
    identity = cache_identity(catalog, pretrained, 3, **kept)
    means = cache_identity(catalog, pretrained, 3, **kept, mean_at=[1, 3])
    assert [name for name, *_ in identity.differences(means)] == ["compute"]
    writer = CacheWriter(tmp_path, identity, catalog.lengths.sum(1).numpy())
    build_caches([writer], LowerLayers(pretrained, [3]), catalog, token_budget=99)
    with pytest.raises(ValueError, match="there is no cache of hidden states; write it with"):
        source(pretrained, 2, tmp_path)
    write_means(tmp_path / "other", pretrained, 2)
    arguments = (catalog, str(pretrained.folder), 3)
    StatesSource(*arguments, str(tmp_path), cache_dtype="fp32")
    for root in (tmp_path / "other", means_folder(str(tmp_path / "other"))):
        with pytest.raises(ValueError, match="there is no cache of hidden|`compute` is '.*mean at 1-3' in"):
            StatesSource(*arguments, str(root), cache_dtype="fp32")


def test_a_cache_of_another_make_is_refused(models, tmp_path):
    pretrained = models["llama"]
    write_means(tmp_path, pretrained, 2)

    def refused(message: str, step: int = 2, **options) -> None:
        with pytest.raises(ValueError, match=message):
            source(pretrained, step, tmp_path, **options)

    refused("`compute` is '.*at 1-3' in the cache, '.*at 0-1-2-3' was asked for", step=1)
    refused("`compute`", dtype="bf16")
    refused("`compute`", attention="eager")
    refused("`dtype`", cache_dtype="bf16")
    other = text_catalog()
    other.text.template = "{title:3}"
    with pytest.raises(ValueError, match="template"):
        LayersSource(other, str(pretrained.folder), 2, str(tmp_path), cache_dtype="fp32")
    with pytest.raises(ValueError, match="checkpoint"):
        source(tiny("llama", tmp_path / "twin", initializer_range=0.5, rms_norm_eps=1e-3), 2, tmp_path)


def test_what_is_known_without_training_is_the_mean_at_the_last_depth(models):
    found, items = source(models["bert"], step=2), torch.tensor([5, 3, 0, 7])
    with torch.no_grad():
        vectors, rows = found.untrained(items), found(items).values.view(3, found.depth, found.dim)
    assert not vectors[1].any(), "item 3 has no text"
    assert torch.equal(vectors[[0, 2, 3]], rows[:, -1])
