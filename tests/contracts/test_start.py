"""How every brick starts: vectors and scores that are small and centred at every width, and gradients of like
size at every part of a model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from legorec.batch import ClickBatch, ItemCodes, TokenVectors
from legorec.data.catalog import Catalog
from legorec.engine.optim import trainable
from legorec.recipes.centring import centre
from legorec.recommender import Recommender
from tests.contracts.test_grid import ITEMS, USERS
from tests.support.bricks import BRICKS, LANGUAGE_MODELS, construct, language_model, made_up
from tests.support.language_runs import text_catalog

NUM_ITEMS, NUM_USERS, HISTORY, SHOWN = 100, 24, 8, 4
FIRST = {"source": "table", "item_encoder": "nrms", "user_encoder": "naml", "predictor": "dot"}
WIDTHS = (16, 64, 192)


@dataclass(frozen=True)
class Start:
    """A model before its first step; lengths are root mean squares over vectors."""

    item_length: float
    item_common: float  # the share of the square of the length that is the mean of all vectors
    user_length: float
    score_mean: float
    score_std: float
    gradients: dict[str, float]  # by part


@cache
def items() -> Catalog:
    """Titles, a category of two, tags."""
    return made_up(
        NUM_ITEMS,
        (("title", "text", 300, 12), ("category", "category", 12, 1), ("tags", "categories", 20, 3)),
    )


@cache
def batch() -> ClickBatch:
    """Histories of 1 to 8 clicks, and four candidates of which the first is the click."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, HISTORY + 1, NUM_USERS)
    mask = torch.from_numpy(np.arange(HISTORY) < lengths[:, None])
    labels = torch.zeros(NUM_USERS, SHOWN)
    labels[:, 0] = 1.0
    rows = torch.arange(NUM_USERS)
    return ClickBatch(
        items=torch.arange(NUM_ITEMS),
        history=torch.from_numpy(rng.integers(4, NUM_ITEMS, (NUM_USERS, HISTORY))) * mask,
        history_mask=mask,
        candidates=torch.from_numpy(rng.integers(4, NUM_ITEMS, (NUM_USERS, SHOWN))),
        candidate_mask=torch.ones(NUM_USERS, SHOWN, dtype=torch.bool),
        labels=labels,
        user=rows % 9,
        group=rows,
        span=rows,
    )


def told(width: int, source: str, item_encoder: str) -> dict[str, Any]:
    """What the program offers and YAML sets, for one width of everything."""
    language = LANGUAGE_MODELS.get(item_encoder) or LANGUAGE_MODELS.get(source)
    levels = [torch.randint(size, (NUM_ITEMS,)) for size in (8, 16, 32)]
    return {
        "catalog": items() if language is None else text_catalog(NUM_ITEMS),
        "num_items": NUM_ITEMS,
        "max_history": HISTORY,
        "codes": ItemCodes(torch.stack(levels, 1), (8, 16, 32)),
        "vectors": {"items": TokenVectors(torch.randn(NUM_ITEMS, 48) * 7.0, frozen=False)}
        if source == "vectors"
        else {},
        "embed_dim": None if source == "states" else width,
        "hidden_dim": width,
        "attention_dim": 200,
        "layers": 1,
        "mlp_dims": [64, 32],
        "checkpoint": str(language_model(language or "llama").folder),
    }


def model_of(chosen: dict[str, str], width: int, seed: int = 0) -> Recommender:
    """The bricks, each with the width of the one before."""
    offered, built = told(width, chosen["source"], chosen["item_encoder"]), {}
    for kind in ("source", "item_encoder", "user_encoder", "user_plugin", "predictor"):
        if kind not in chosen:
            continue
        built[kind] = brick = construct(kind, chosen[kind], seed, **offered)
        if kind == "source":
            offered |= {"input_dim": brick.dim, "token_dim": brick.dim, "field_kinds": brick.field_kinds}
            if hasattr(brick, "pretrained"):
                offered |= {"pretrained": brick.pretrained, "depth": brick.depth}
        elif kind == "item_encoder":
            offered["input_dim"] = brick.output_dim
    return Recommender(**built)


def around(kind: str, name: str) -> dict[str, str]:
    """A model of usual bricks with this one in its place."""
    chosen = FIRST | {kind: name}
    if kind in ("source", "item_encoder"):
        pairs = [
            pair for pair in ITEMS if dict(zip(("source", "item_encoder"), pair, strict=True))[kind] == name
        ]
        both = (chosen["source"], chosen["item_encoder"])
        chosen |= dict(zip(("source", "item_encoder"), both if both in pairs else pairs[0], strict=True))
    if kind in ("user_encoder", "predictor"):
        pairs = [
            pair
            for pair in USERS
            if dict(zip(("user_encoder", "predictor"), pair, strict=True))[kind] == name
        ]
        both = (chosen["user_encoder"], chosen["predictor"])
        chosen |= dict(zip(("user_encoder", "predictor"), both if both in pairs else pairs[0], strict=True))
    return chosen


def lengths(vectors: Tensor) -> tuple[float, float]:
    """The length of vectors (..., D), and the share of its square that they have in common."""
    rows = vectors.flatten(0, -2)
    rows = rows[rows.abs().sum(1) > 0]
    square = rows.square().sum(1).mean()
    return square.sqrt().item(), (rows.mean(0).square().sum() / square).item()


def start(model: Recommender) -> Start:
    """One batch through the model and back."""
    encoded = model.eval().encode(batch())
    scores = model.score_encoded(encoded, batch())
    scores.log_softmax(1)[:, 0].mean().neg().backward()
    gradients = {kind: norm(part) for kind, part in model.named_children() if trainable(part)}
    return Start(
        *lengths(encoded.candidates),
        lengths(encoded.user)[0],
        scores.mean().item(),
        scores.std().item(),
        gradients,
    )


@cache
def starts(kind: str, name: str) -> dict[int, Start]:
    """A model with this brick, by width, as it is when training begins."""
    found = {}
    for width in WIDTHS:
        model = model_of(around(kind, name), width)
        centre(model, NUM_ITEMS, page_size=0)
        found[width] = start(model)
    return found


def norm(part: nn.Module) -> float:
    """Of the gradients of a part."""
    return (
        sum(value.grad.square().sum().item() for value in trainable(part).values() if value.grad is not None)
        ** 0.5
    )


@pytest.mark.parametrize("kind, name", BRICKS)
def test_scores_start_small_and_centred_at_every_width(kind, name):
    found = starts(kind, name)
    for width, each in found.items():
        assert 0.2 < each.item_length < 2.0, (width, each)
        assert each.item_common < 0.6, (width, each)
        assert 0.1 < each.user_length < 2.5, (width, each)
        assert abs(each.score_mean) < 0.4, (width, each)
        assert 1e-3 < each.score_std < 0.6, (width, each)
    for part in ("item_length", "user_length"):
        sizes = [getattr(each, part) for each in found.values()]
        assert max(sizes) < 2.5 * min(sizes), (part, sizes)


@pytest.mark.parametrize("kind, name", BRICKS)
def test_every_part_has_a_gradient_of_like_size(kind, name):
    for width, each in starts(kind, name).items():
        sizes = each.gradients
        # The least is that of MINER's gate, which weights scores, themselves products of short vectors.
        assert max(sizes.values()) < 10_000 * min(sizes.values()), (width, sizes)


@pytest.mark.parametrize("size", [50, 5000])
def test_the_number_of_items_and_words_changes_nothing(size):
    """Nor does the number of fields."""
    found = []
    for fields in (1, 2, 5):
        parts = tuple((f"text{place}", "text", size, 8) for place in range(fields))
        torch.manual_seed(0)
        catalog = made_up(200, parts)
        source = construct("source", "table", catalog=catalog, embed_dim=64)
        told = {"input_dim": 64, "field_kinds": source.field_kinds, "hidden_dim": 64}
        for name in ("nrms", "naml", "cnn", "fields", "pooling", "transformer"):
            encoder = construct("item_encoder", name, **told).eval()
            length, common = lengths(encoder(source(torch.arange(4, 200))))
            found.append((fields, name, length, common))
            assert common < 0.6, found[-1]
    sizes = [length for _, _, length, _ in found]
    assert 0.15 < min(sizes) and max(sizes) < 2.0, found


def test_rectified_views_are_not_centred():
    """The paper's form of NAML: why it is not the default."""
    built = model_of(around("item_encoder", "naml"), 64)
    other = construct("item_encoder", "naml", input_dim=64, hidden_dim=64, rectified=True,
                      field_kinds=built.source.field_kinds)  # fmt: skip
    rectified = Recommender(built.source, other, built.user_encoder, built.predictor)
    assert start(rectified).item_common > 0.6 > 5 * start(built).item_common
