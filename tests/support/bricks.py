"""Every brick of the registry, small, with random input of the right shapes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from legorec import registry
from legorec.batch import ItemCodes, TokenStates, TokenVectors
from legorec.data.catalog import Catalog, CatalogField
from legorec.data.ragged import Ragged
from legorec.lm.lora import LoRA
from legorec.lm.pretrained import Pretrained
from tests.support.language_runs import NO_DROPOUT, text_catalog
from tests.support.tiny import tiny

NUM_ITEMS, NUM_USERS, DIM = 12, 9, 16
SMALL = {
    **{"embed_dim": DIM, "hidden_dim": DIM, "attention_dim": 8, "heads": 4, "dropout": 0.0},
    "lora": LoRA(enabled=False),  # an untrained adapter has no gradient in its first half
}
LANGUAGE_MODELS = {"states": "llama", "layers": "llama", "llama": "llama", "bert": "bert"}
NUM_PARTS = 3  # of an item that is joined from several sources
NUM_LAYERS = 3  # of an item where pooled layers stand for its tokens
LENGTHS = [0, 1, 4, 6, 2]  # clicks of the five histories
FOLDERS = tempfile.TemporaryDirectory()


@cache
def catalog() -> Catalog:
    """Titles of 0 to 6 words, a category that one item lacks, tags; item 3 has nothing at all."""
    return made_up(
        NUM_ITEMS, (("title", "text", 30, 6), ("category", "category", 5, 1), ("tags", "categories", 7, 3))
    )


@cache
def profiles() -> Catalog:
    """Topics and a region of every user; user 3 has neither."""
    return made_up(NUM_USERS, (("topics", "categories", 7, 3), ("region", "category", 5, 1)))


def made_up(count: int, parts: tuple[tuple[str, str, int, int], ...]) -> Catalog:
    """Fields (name, kind, size of the vocabulary, longest row) of random tokens."""
    rng = np.random.default_rng(0)
    fields, rows = [], []
    for name, kind, size, longest in parts:
        lengths = np.ones(count, dtype=np.int64) if longest == 1 else rng.integers(0, longest + 1, count)
        lengths[3] = 0
        values = rng.integers(0, size, int(lengths.sum())).astype(np.int32)
        rows.append(Ragged.from_lengths(values, lengths))
        fields.append(CatalogField(name, kind, name, size, longest))
    return Catalog(fields, rows)


@cache
def codes() -> ItemCodes:
    generator = torch.Generator().manual_seed(3)
    sizes = (3, 4, 5)
    levels = [torch.randint(size, (NUM_ITEMS,), generator=generator) for size in sizes]
    return ItemCodes(torch.stack(levels, 1), sizes)


def reads(name: str) -> tuple[str, ...]:
    """What an item encoder reads."""
    return registry.accepts(registry.find("item_encoder", name))


def gives(name: str) -> str:
    """What a user encoder gives."""
    return registry.gives(registry.find("user_encoder", name))


def kinds_of(name: str) -> list[str]:
    if "tokens" in reads(name):
        return [field.kind for field in catalog().fields]
    return {"vector": ["id"], "states": ["text"], "layers": ["layer"]}[reads(name)[0]]


@cache
def language_model(model_type: str) -> Pretrained:
    """A tiny one without dropout."""
    return tiny(model_type, Path(FOLDERS.name) / model_type, **NO_DROPOUT)


def construct(kind: str, name: str, seed: int = 0, **changes: Any) -> nn.Module:
    """A small brick without dropout, from what the program offers."""
    torch.manual_seed(seed)
    brick = registry.find(kind, name)
    offered = {
        "catalog": catalog(),
        "input_dim": DIM,
        "token_dim": DIM,
        "num_items": NUM_ITEMS,
        "num_parts": NUM_PARTS,
        "num_users": NUM_USERS,
        "max_history": 7,
        "codes": codes(),
        "profiles": profiles(),
        "field_kinds": kinds_of(name) if kind == "item_encoder" else [],
        "vectors": {"items": TokenVectors(torch.randn(NUM_ITEMS, DIM), frozen=False)}
        if name == "vectors"
        else {},
    }
    if kind == "item_encoder" and reads(name) == ("layers",):
        offered["depth"] = NUM_LAYERS
    if name in LANGUAGE_MODELS:
        model = language_model(LANGUAGE_MODELS[name])
        offered |= {"pretrained": model, "depth": 1}
        if kind == "source":
            offered |= {"catalog": text_catalog(NUM_ITEMS), "checkpoint": str(model.folder), "layer": 1}
    asked = {part.name for part in brick.parameters}
    arguments = {key: value for key, value in (offered | SMALL | changes).items() if key in asked}
    return registry.load(brick)(**arguments)


def states(name: str, seed: int = 0) -> TokenStates:
    generator = torch.Generator().manual_seed(seed)
    lengths = catalog().lengths
    if reads(name) == ("vector",):
        lengths = torch.ones(NUM_ITEMS, 1, dtype=torch.int64)
    elif "tokens" not in reads(name):
        lengths = lengths.sum(1, keepdim=True).clamp(max=3)
    if reads(name) == ("layers",):
        lengths = (lengths > 0).long() * NUM_LAYERS
    return TokenStates(
        torch.randn(int(lengths.numpy().sum()), DIM, generator=generator).requires_grad_(), lengths
    )


def clicks(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Five histories of 0, 1, 4, 6 and 2 clicks, padded to 7, with garbage where masked."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(7) < torch.tensor(LENGTHS).unsqueeze(1)
    vectors = torch.randn(5, 7, DIM, generator=generator)
    return torch.where(mask.unsqueeze(2), vectors, 1e4), mask


def item_vectors() -> tuple[Tensor, Tensor]:
    """Vectors of the parts of every item, zero where it lacks one; item 3 has none."""
    generator = torch.Generator().manual_seed(2)
    mask = torch.rand(NUM_ITEMS, NUM_PARTS, generator=generator) < 0.7
    mask[3] = False
    vectors = torch.randn(NUM_ITEMS, NUM_PARTS, DIM, generator=generator)
    return torch.where(mask.unsqueeze(2), vectors, 0.0).requires_grad_(), mask


def user_extras(rows: slice = slice(None), width: int = 7) -> dict[str, Any]:
    """What is offered of the five users beside their clicks, in histories of another width where asked."""
    generator = torch.Generator().manual_seed(4)
    items = torch.randint(NUM_ITEMS, (5, 7), generator=generator)
    tokens = torch.randint(1, 4, (5, 7, 2), generator=generator)
    tokens[torch.arange(7) >= torch.tensor(LENGTHS).unsqueeze(1)] = 0
    values = torch.randn(int(tokens.sum()), DIM, generator=generator)
    of_click = values.split(tokens.sum(2).flatten().tolist())
    kept = [of_click[7 * row + click] for row in range(5)[rows] for click in range(min(width, 7))]
    items, tokens = items[rows, :width], tokens[rows, :width]
    if width > 7:
        items = torch.nn.functional.pad(items, (0, width - 7))
        tokens = torch.nn.functional.pad(tokens, (0, 0, 0, width - 7))
    return {
        "user": torch.tensor([0, 1, 2, -1, 4])[rows],
        "click_items": items,
        "states": TokenStates(torch.cat([values[:0], *kept]), tokens.flatten(0, 1)),
    }


def encoded(name: str, brick: nn.Module, vectors: Tensor, mask: Tensor, rows: slice = slice(None)) -> Tensor:
    """A user encoder's result for some of the five users."""
    offered = user_extras(rows, vectors.shape[1])
    asked = registry.extras(registry.find("user_encoder", name))
    return brick(vectors, mask, **{each: offered[each] for each in asked})


def inputs(kind: str, name: str) -> tuple[Any, ...]:
    if kind == "source":
        return (torch.arange(NUM_ITEMS),)
    if kind == "item_encoder":
        return (states(name),)
    if kind == "join":
        return item_vectors()
    if kind == "user_encoder":
        vectors_BHD, mask_BH = clicks()
        return vectors_BHD.requires_grad_(), mask_BH
    generator = torch.Generator().manual_seed(1)
    between = {"vector": (5,), "interests": (5, 4), "clicks": (5, 7)}
    taken = registry.accepts(registry.find(kind, name))[0]
    user, candidates = (torch.randn(*shape, DIM, generator=generator) for shape in (between[taken], (5, 3)))
    if taken == "clicks":
        user = user.masked_fill(~clicks()[1].unsqueeze(2), 0.0)
    return (user.requires_grad_(), candidates.requires_grad_())[: registry.NUM_TENSORS[kind]]


def predictor_extras() -> dict[str, Tensor]:
    """What is offered to a predictor beside user and candidates."""
    generator = torch.Generator().manual_seed(5)
    vectors, mask = clicks()
    return {
        "clicks": vectors,
        "mask": mask,
        "click_items": user_extras()["click_items"],
        "click_weights": torch.rand(5, 7, 4, generator=generator) * mask.unsqueeze(2),
        "candidate_items": torch.randint(NUM_ITEMS, (5, 3), generator=generator),
        "candidate_mask": torch.ones(5, 3, dtype=torch.bool),
    }


def doubled(value: Any) -> Any:
    """The same in float64 where it is a floating number."""
    if isinstance(value, TokenStates):
        return TokenStates(value.values.double(), value.lengths)
    return value.double() if value.is_floating_point() else value


def extras_given(kind: str, name: str) -> dict[str, Any]:
    """What else a brick's forward asks for, from what is offered."""
    offered: dict[str, Any] = predictor_extras() if kind == "predictor" else user_extras()
    return {each: offered[each] for each in registry.extras(registry.find(kind, name))}


def prepared(kind: str, name: str, brick: nn.Module, *given: Any, wide: bool = False) -> Callable[[], Tensor]:
    """The brick called with ``inputs``, or with what is given, and with what else its forward asks for."""
    extras = extras_given(kind, name)
    if wide:
        extras = {key: doubled(value) for key, value in extras.items()}
    tensors = given or inputs(kind, name)

    def call() -> Tensor:
        out = brick(*tensors, **extras)
        return out.values if isinstance(out, TokenStates) else out

    return call


def run(kind: str, name: str, brick: nn.Module, *given: Any, wide: bool = False) -> Tensor:
    """What ``prepared`` gives when it is called."""
    return prepared(kind, name, brick, *given, wide=wide)()


KINDS = ("source", "item_encoder", "join", "user_encoder", "user_plugin", "predictor")
BRICKS = [(kind, name) for kind in KINDS for name in registry.names(kind)]


def of(kind: str) -> list[str]:
    return [name for each, name in BRICKS if each == kind]
