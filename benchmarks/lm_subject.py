"""The language models that are measured, their items as texts, and recommenders with and without a cache."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks import subject
from legorec.data.catalog import Catalog
from legorec.data.item_text import ItemText
from legorec.data.ragged import Ragged
from legorec.data.store import Store
from legorec.data.text import TokenizerChoice
from legorec.data.tokenizations import add_tokenization
from legorec.item_encoders.bert import BERTItemEncoder
from legorec.item_encoders.llama import LlamaItemEncoder
from legorec.lm.build_cache import build_caches
from legorec.lm.cut import LowerLayers, Precision
from legorec.lm.item_states import cache_identity
from legorec.lm.pretrained import Pretrained
from legorec.lm.state_cache import CacheWriter
from legorec.predictors.dot import DotPredictor
from legorec.recommender import Recommender
from legorec.sources.states import StatesSource
from legorec.user_encoders.naml import NAMLUserEncoder

ROOT = Path(__file__).resolve().parent.parent
TOKEN_BUDGET = 8192  # of a batch of the cache run, as in config/exp/parts/split.yaml
STORED: Precision = "bf16"  # as in config/model/parts/language_model.yaml
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


@dataclass(frozen=True)
class Checkpoint:
    """A language model, the depth of its cut in training, and the template of the items."""

    name: str
    folder: Path
    depth: int
    template: str


@dataclass(frozen=True)
class LanguageModel:
    """A checkpoint with the items of a store as its texts."""

    checkpoint: Checkpoint
    pretrained: Pretrained
    store: Store
    catalog: Catalog

    @property
    def name(self) -> str:
        return self.checkpoint.name

    @property
    def depth(self) -> int:
        return self.checkpoint.depth


def checkpoints(weights: Path) -> list[Checkpoint]:
    """MiniLM and SmolLM2 as ``process/fetch_model.py`` writes them."""
    return [
        Checkpoint("MiniLM", weights / "minilm", 5, template_of("movielens-bert")),
        Checkpoint("SmolLM2", weights / "smollm2", 28, template_of("movielens-llama")),
    ]


def template_of(data: str) -> str:
    """The text template of a data layer of config/."""
    content = yaml.safe_load((ROOT / "config" / "data" / f"{data}.yaml").read_text(encoding="utf-8"))
    return content["text"]["template"]


def tokenized_copy(store: Path, folder: Path, wanted: list[Checkpoint]) -> Store:
    """A copy of a store whose titles each model's own tokenizer has read."""
    shutil.copytree(store, folder)
    for each in wanted:
        add_tokenization(folder, "title", TokenizerChoice(_tokenization(each), each.folder))
    return Store.open(folder)


def open_language_model(checkpoint: Checkpoint, store: Store) -> LanguageModel:
    """One of the models over the items of a copy that ``tokenized_copy`` made."""
    name = _tokenization(checkpoint)
    text = ItemText(checkpoint.template, store.tokenizer(name), name)
    pretrained = Pretrained(checkpoint.folder, checkpoint.name)
    return LanguageModel(checkpoint, pretrained, store, Catalog.from_text(store, text))


def some_items(catalog: Catalog, items: torch.Tensor) -> Catalog:
    """A catalogue of texts with these rows of another one, in this order, perhaps repeated."""
    tokens = catalog.tokens(items)
    rows = Ragged.from_lengths(tokens.ids.int().numpy(), tokens.lengths[:, 0].numpy())
    found = Catalog(catalog.fields, [rows], catalog.text)
    found.item_ids_digest = catalog.item_ids_digest
    return found


def _tokenization(checkpoint: Checkpoint) -> str:
    return f"bench-{checkpoint.name.lower()}"


def cache_writer(
    model: LanguageModel, root: Path, precision: Precision, stored: Precision = STORED, **more: Any
) -> CacheWriter:
    """A writer of the states at the depth where the model is cut."""
    identity = cache_identity(
        model.catalog, model.pretrained, model.depth, stored=stored, computed=precision, attention="sdpa"
    )
    return CacheWriter(root, identity, model.catalog.lengths.sum(1).numpy(), **more)


def write_cache(
    model: LanguageModel, root: Path, precision: Precision, device: torch.device | str = "cpu"
) -> CacheWriter:
    """Write the cache that ``recommender`` reads, unless it exists."""
    writer = cache_writer(model, root, precision)
    if writer.missing():
        lower = LowerLayers(model.pretrained, [model.depth], precision).to(device)
        build_caches([writer], lower, model.catalog, token_budget=TOKEN_BUDGET)
    writer.finish()
    return writer


def recommender(
    model: LanguageModel, cache: Path | None, precision: Precision, seed: int = 2023
) -> Recommender:
    """NAML over the language model with LoRA, at the defaults of config/model.

    Args:
        cache: folder of the states; None runs the lower layers on every batch.
        precision: of the states and of the language model; adapters are float32 in any case.
    """
    torch.manual_seed(seed)
    source = StatesSource(
        model.catalog,
        str(model.pretrained.folder),
        model.depth,
        cache=None if cache is None else str(cache),
        cache_dtype=STORED,
        dtype=precision,
    )
    encoder = LlamaItemEncoder if model.pretrained.family.causal else BERTItemEncoder
    items = encoder(source.dim, source.pretrained, source.depth, hidden_dim=subject.WIDTH, dtype=precision)
    users = NAMLUserEncoder(subject.WIDTH, attention_dim=subject.ATTENTION)
    return Recommender(source, items, users, DotPredictor())
