"""States of a language model: cached or computed, the same scores, the same gradients, the right cache."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from legorec.batch import ClickBatch
from legorec.data.catalog import Catalog
from legorec.item_encoders.bert import BERTItemEncoder
from legorec.item_encoders.llama import LlamaItemEncoder
from legorec.lm.build_cache import build_caches
from legorec.lm.cut import LowerLayers
from legorec.lm.item_states import cache_identity, check_text
from legorec.lm.lora import LoRA
from legorec.lm.pretrained import Pretrained
from legorec.lm.state_cache import CacheWriter
from legorec.objectives.sampled_softmax import SampledSoftmaxObjective
from legorec.predictors.dot import DotPredictor
from legorec.recommender import Recommender
from legorec.sources.states import StatesSource
from legorec.user_encoders.naml import NAMLUserEncoder
from tests.support.language_runs import NO_DROPOUT, text_catalog
from tests.support.tiny import tiny

ENCODERS = {"llama": LlamaItemEncoder, "bert": BERTItemEncoder}
NUM_ITEMS = 12


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pretrained]:
    root = tmp_path_factory.mktemp("models")
    return {name: tiny(name, root / name, **NO_DROPOUT) for name in ENCODERS}


def write_cache(
    root: Path, catalog: Catalog, pretrained: Pretrained, depths: list[int], stored: str = "fp32"
) -> None:
    """Caches of several shards, built as the cache run does."""
    identities = [
        cache_identity(catalog, pretrained, depth, stored=stored, computed="fp32", attention="sdpa")
        for depth in depths
    ]
    lengths = catalog.lengths.sum(1).numpy()
    writers = [CacheWriter(root, identity, lengths, shard_bytes=1500) for identity in identities]
    assert len(writers[0].shards) > 1
    build_caches(writers, LowerLayers(pretrained, depths), catalog, token_budget=12)


def recommender(
    pretrained: Pretrained, layer: int, cache: Path | None, page: int = 0, lora: bool = True, **more
) -> Recommender:
    torch.manual_seed(0)
    name = "bert" if pretrained.family.model_type == "bert" else "llama"
    source = StatesSource(
        text_catalog(), str(pretrained.folder), layer, str(cache) if cache else None, cache_dtype="fp32"
    )
    settings = LoRA(enabled=lora, r=2, dropout=0.0)
    item_encoder = ENCODERS[name](source.dim, pretrained, source.depth, 8, 8, lora=settings, **more)
    model = Recommender(source, item_encoder, NAMLUserEncoder(8, 8), DotPredictor(), item_page_size=page)
    for key, value in model.named_parameters():
        if "lora_B" in key:  # as if it had learned something
            torch.nn.init.normal_(value, std=0.1)
    return model


def click_batch() -> ClickBatch:
    history = torch.tensor([[0, 1, 2], [3, 4, 0], [5, 0, 0]])
    candidates = torch.tensor([[6, 7], [8, 9], [1, 10]])
    return ClickBatch(
        items=torch.tensor([11, 0, 3, 1, 2, 4, 5, 6, 7, 8, 9]),
        history=history,
        history_mask=torch.tensor([[1, 1, 1], [1, 1, 0], [0, 0, 0]]).bool(),
        candidates=candidates,
        candidate_mask=torch.ones(3, 2, dtype=torch.bool),
        labels=torch.tensor([[1.0, 0.0]] * 3),
        user=torch.arange(3),
        group=torch.arange(3),
        span=torch.arange(3),
    )


def scores_and_gradients(model: Recommender) -> tuple[Tensor, dict[str, Tensor]]:
    SampledSoftmaxObjective(1)(model, click_batch()).total.backward()
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return model(click_batch()).detach(), gradients


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("layer", [1, 2, -1])
def test_r18_cached_states_give_the_scores_and_gradients_of_the_whole_model(models, tmp_path, name, layer):
    pretrained = models[name]
    depth = pretrained.depth(layer)
    write_cache(tmp_path, text_catalog(), pretrained, [depth])
    cached, live = recommender(pretrained, layer, tmp_path), recommender(pretrained, layer, None)
    assert sum(value.numel() for value in cached.source.parameters()) == 0  # nothing below is loaded
    assert sum(value.numel() for value in live.source.parameters()) > 0
    scores, gradients = scores_and_gradients(cached)
    wanted_scores, wanted = scores_and_gradients(live)
    torch.testing.assert_close(scores, wanted_scores, rtol=0, atol=1e-6)
    assert gradients.keys() == wanted.keys() and any("lora" in key for key in gradients)
    for key in wanted:  # norms over small states make 1e-7 of rounding in these a hundred times as large
        assert (gradients[key] - wanted[key]).abs().max() <= 1e-4 * wanted[key].abs().max(), key


@pytest.mark.parametrize("name", ENCODERS)
def test_r18_every_depth_scores_alike(models, tmp_path, name):
    """Frozen, a model is the same wherever it is cut."""
    pretrained = models[name]
    write_cache(tmp_path, text_catalog(), pretrained, [1, 2, 3])
    scores = []
    for layer in range(4):
        model = recommender(pretrained, layer, tmp_path, lora=False, frozen=True).eval()
        scores.append(model(click_batch()))
    for other in scores[1:]:
        torch.testing.assert_close(other, scores[0], rtol=0, atol=1e-6)


PAGED = {"lora": (1, 5), "full": (3, 100)}  # quick ones


@pytest.mark.parametrize(
    "tuned, page",
    [
        pytest.param(tuned, page, marks=[] if page in quick else pytest.mark.slow)
        for tuned, quick in PAGED.items()
        for page in (1, 3, 5, 11, 100)
    ],
)
def test_page_size_changes_nothing(models, tmp_path, page, tuned):
    pretrained = models["bert"]
    write_cache(tmp_path, text_catalog(), pretrained, [2])
    whole, paged = (
        recommender(pretrained, 2, tmp_path, size, lora=tuned == "lora").double() for size in (0, page)
    )
    scores, gradients = scores_and_gradients(whole)
    paged_scores, paged_gradients = scores_and_gradients(paged)
    torch.testing.assert_close(paged_scores, scores, rtol=0, atol=1e-10)
    assert gradients.keys() == paged_gradients.keys()
    for key in gradients:
        torch.testing.assert_close(paged_gradients[key], gradients[key], rtol=0, atol=1e-10)


def test_pages_repeat_their_dropout(models, tmp_path):
    """What is computed again in backward draws the same masks, or gradients would be of another function."""
    model = recommender(models["llama"], 1, None, page=3)
    for module in model.modules():
        if hasattr(module, "lora_dropout"):
            module.lora_dropout["default"] = torch.nn.Dropout(0.5)
    seen = []
    hook = model.item_encoder.dense.register_forward_hook(lambda m, i, out: seen.append(out.detach()))
    torch.manual_seed(1)
    SampledSoftmaxObjective(1)(model, click_batch()).total.backward()
    hook.remove()
    pages = len(seen) // 2
    assert pages == 4 and all(
        torch.equal(a, b) for a, b in zip(seen[:pages], seen[pages:][::-1], strict=True)
    )


def test_checkpointed_layers_have_the_same_gradients(models):
    plain = recommender(models["llama"], 1, None).train()
    again = recommender(models["llama"], 1, None, gradient_checkpointing=True).train()
    _, wanted = scores_and_gradients(plain)
    _, gradients = scores_and_gradients(again)
    for key in wanted:
        torch.testing.assert_close(gradients[key], wanted[key])


def test_new_items_run_through_the_layers_below(models, tmp_path):
    pretrained = models["llama"]
    catalog = text_catalog()
    write_cache(tmp_path, catalog, pretrained, [2])
    source = StatesSource(catalog, str(pretrained.folder), 2, str(tmp_path), cache_dtype="fp32")
    items = torch.tensor([5, 3, 0])
    known, new = source(items), source.embed(catalog.tokens(items))
    assert torch.equal(known.lengths, new.lengths)
    torch.testing.assert_close(known.values, new.values, rtol=0, atol=1e-6)


def test_half_precision_is_near(models, tmp_path):
    pretrained = models["bert"]
    catalog = text_catalog()
    for stored in ("bf16", "fp16"):
        write_cache(tmp_path, catalog, pretrained, [1], stored)
        half = StatesSource(catalog, str(pretrained.folder), 1, str(tmp_path), cache_dtype=stored)
        exact = StatesSource(catalog, str(pretrained.folder), 1)
        items = torch.arange(NUM_ITEMS)
        torch.testing.assert_close(half(items).values, exact(items).values, rtol=1e-2, atol=1e-2)


def test_r6_a_cache_of_another_make_is_refused(models, tmp_path):
    pretrained = models["llama"]
    write_cache(tmp_path, text_catalog(), pretrained, [2])

    def refused(field: str, catalog: Catalog, model: Pretrained = pretrained, **options) -> None:
        with pytest.raises(ValueError, match=field):
            StatesSource(catalog, str(model.folder), **({"layer": 2, "cache_dtype": "fp32"} | options))

    root = {"cache": str(tmp_path)}
    other = text_catalog()
    other.text.template = "{title:3}"
    refused("template", other, **root)
    other = text_catalog()
    other.item_ids_digest = "other"
    refused("catalog", other, **root)
    refused("compute", text_catalog(), dtype="bf16", **root)
    refused("compute", text_catalog(), attention="eager", **root)
    refused("dtype", text_catalog(), cache_dtype="bf16", **root)
    refused("depth", text_catalog(), layer=1, **root)
    refused("no cache|cached", text_catalog(), cache=str(tmp_path / "elsewhere"))


def test_r6_another_checkpoint_is_refused(models, tmp_path):
    write_cache(tmp_path / "cache", text_catalog(), models["llama"], [2])
    twin = Pretrained(shutil.copytree(models["llama"].folder, tmp_path / "twin"))
    StatesSource(text_catalog(), str(twin.folder), 2, str(tmp_path / "cache"), cache_dtype="fp32")
    file = twin.folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="checkpoint"):
        StatesSource(text_catalog(), str(twin.folder), 2, str(tmp_path / "cache"), cache_dtype="fp32")


def test_items_must_be_text_that_fits(models):
    catalog = text_catalog()
    plain = text_catalog()
    plain.text = None
    with pytest.raises(ValueError, match="as one text, and the data layer gives `fields`"):
        StatesSource(plain, str(models["bert"].folder))
    short = Pretrained(models["bert"].folder)
    short.config.max_position_embeddings = 4
    with pytest.raises(ValueError, match="the longest item has 6 tokens, .* takes at most 4"):
        check_text(catalog, short)


@pytest.mark.parametrize("layer", [0, 2])
def test_what_is_known_without_training_is_the_mean_of_the_states(models, tmp_path, layer):
    """Cached or computed, and without the projection that a width of its own adds."""
    catalog, pretrained, items = text_catalog(), models["bert"], torch.tensor([5, 3, 0, 7])
    write_cache(tmp_path, catalog, pretrained, [2])
    plain = StatesSource(catalog, str(pretrained.folder), layer)
    found = [
        StatesSource(
            catalog, str(pretrained.folder), layer, cache, cache_dtype="fp32", embed_dim=width
        ).untrained(items)
        for cache in (None, str(tmp_path))
        for width in (None, 5)
    ]
    with torch.no_grad():
        values, mask = plain(items).padded()
    wanted = (values * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
    assert not wanted[1].any() and wanted[0].any(), "item 3 has no text"
    for each in found:
        torch.testing.assert_close(each, wanted, rtol=0, atol=1e-6)
