"""Small generated data and models for tests."""

from __future__ import annotations

import numpy as np
import torch

from legorec.batch import ClickBatch
from legorec.data.catalog import Catalog, CatalogField
from legorec.data.clicks import ClickStream, TrainingClicks
from legorec.data.evaluation import Impressions
from legorec.data.histories import Histories
from legorec.data.ragged import Ragged
from legorec.data.store import Interactions
from legorec.item_encoders.naml import NAMLItemEncoder
from legorec.item_encoders.nrms import NRMSItemEncoder
from legorec.predictors.dot import DotPredictor
from legorec.recommender import Recommender
from legorec.sources.table import TableSource
from legorec.user_encoders.naml import NAMLUserEncoder
from legorec.user_encoders.nrms import NRMSUserEncoder

NUM_ITEMS, NUM_USERS = 60, 17


def ragged(rng: np.random.Generator, rows: int, low: int, high: int, values: int) -> Ragged:
    """Rows of random lengths in [low, high) with random values below ``values``."""
    lengths = rng.integers(low, high, rows)
    return Ragged.from_lengths(rng.integers(0, values, int(lengths.sum())).astype(np.int32), lengths)


def catalog(seed: int = 0, num_items: int = NUM_ITEMS) -> Catalog:
    """Titles of 0 to 8 words (some empty) and a category."""
    rng = np.random.default_rng(seed)
    title = ragged(rng, num_items, 0, 9, 40)
    category = ragged(rng, num_items, 1, 2, 5)
    fields = [
        CatalogField("title@words", "text", "words", 40, 8),
        CatalogField("category", "category", "category", 5, 1),
    ]
    return Catalog(fields, [title, category])


def histories(seed: int = 0, max_length: int | None = 6) -> tuple[Histories, np.ndarray]:
    """Two spans of each user's clicks (the first may be empty), and the owner of each span."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, NUM_USERS)
    stops = np.cumsum(lengths)
    starts = stops - lengths
    spans = np.stack([np.repeat(starts, 2), np.stack([starts + lengths // 2, stops], 1).reshape(-1)], 1)
    clicks = rng.integers(0, NUM_ITEMS, int(stops[-1])).astype(np.int32)
    return Histories(clicks, spans, max_length), np.repeat(np.arange(NUM_USERS), 2)


def interactions(seed: int = 0, count: int = 80) -> tuple[Interactions, Histories]:
    """Impressions of 1 to 9 distinct candidates; most have a click, some have none."""
    rng = np.random.default_rng(seed + 1)
    stored, owner = histories(seed)
    span = rng.integers(0, len(stored), count).astype(np.int32)
    sizes = rng.integers(1, 10, count)
    shown = [rng.choice(NUM_ITEMS, size, replace=False) for size in sizes]
    labels = (rng.random(int(sizes.sum())) < 0.3).astype(np.uint8)
    candidates = Ragged.from_lengths(np.concatenate(shown).astype(np.int32), sizes)
    user = owner[span].astype(np.int32)
    return Interactions(user, span, candidates, labels, None, None), stored


def impressions(seed: int = 0, count: int = 80) -> Impressions:
    found, stored = interactions(seed, count)
    return Impressions(found, stored, NUM_ITEMS)


def recommender(name: str = "nrms", seed: int = 0, dropout: float = 0.1, dim: int = 16) -> Recommender:
    """A small NAML or NRMS over ``catalog()``."""
    torch.manual_seed(seed)
    items = catalog()
    source = TableSource(items, embed_dim=dim)
    if name == "nrms":
        item_encoder = NRMSItemEncoder(input_dim=dim, hidden_dim=dim, heads=4, dropout=dropout)
        user_encoder = NRMSUserEncoder(input_dim=dim, heads=4, dropout=dropout)
    else:
        kinds = [field.kind for field in items.fields]
        item_encoder = NAMLItemEncoder(input_dim=dim, field_kinds=kinds, hidden_dim=dim, dropout=dropout)
        user_encoder = NAMLUserEncoder(input_dim=dim)
    return Recommender(source, item_encoder, user_encoder, DotPredictor())


def training_clicks(seed: int = 0, count: int = 80) -> TrainingClicks:
    found, stored = interactions(seed, count)
    return TrainingClicks(found, stored, NUM_ITEMS)


def stream(
    batch_size: int = 8,
    num_negatives: int = 3,
    positives_only: bool = True,
    epoch_batch: int = 0,
    seed: int = 5,
    count: int = 80,
) -> ClickStream:
    return ClickStream(
        training_clicks(count=count),
        batch_size=batch_size,
        num_negatives=num_negatives,
        positives_only=positives_only,
        epoch_batch=epoch_batch,
        seed=seed,
    )


def examples(batch: ClickBatch, start: int, stop: int, number: int = -1) -> ClickBatch:
    """Some rows of a batch, over the same distinct items."""
    cut = slice(start, stop)
    return ClickBatch(
        items=batch.items,
        history=batch.history[cut],
        history_mask=batch.history_mask[cut],
        candidates=batch.candidates[cut],
        candidate_mask=batch.candidate_mask[cut],
        labels=batch.labels[cut],
        user=batch.user[cut],
        group=batch.group[cut],
        span=batch.span[cut],
        number=number,
    )
