"""NRMS and NAML from legorec's bricks, at the sizes of the plain baseline."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Literal
from unittest.mock import patch

import torch

from legorec.batch import ClickBatch
from legorec.data.catalog import Catalog
from legorec.data.clicks import ClickStream, TrainingClicks
from legorec.data.histories import Histories
from legorec.data.store import Store
from legorec.item_encoders.naml import NAMLItemEncoder
from legorec.item_encoders.nrms import NRMSItemEncoder
from legorec.predictors.dot import DotPredictor
from legorec.recommender import Recommender
from legorec.sources.table import TableSource
from legorec.user_encoders.naml import NAMLUserEncoder
from legorec.user_encoders.nrms import NRMSUserEncoder

WIDTH, HEADS, ATTENTION, DROPOUT = 64, 8, 200, 0.1
BATCH_SIZE, NUM_NEGATIVES, HISTORY_LENGTH, TITLE_LENGTH = 64, 4, 50, 30
MODELS = ("naml", "nrms")


@dataclass(frozen=True)
class Cut:
    max_length: int | None
    keep: Literal["first", "last"] = "first"


def open_catalog(store: Store) -> Catalog:
    """Titles of at most 30 words and the category, as in the baseline."""
    return Catalog.from_store(store, {"title@words": Cut(TITLE_LENGTH), "category": Cut(None)})


def histories(store: Store) -> Histories:
    """The last 50 clicks of every stored history."""
    return Histories(store.histories, store.spans, HISTORY_LENGTH)


def click_stream(store: Store, steps: int, batch_size: int = BATCH_SIZE) -> ClickStream:
    """Training batches in epochs of ``steps``."""
    clicks = TrainingClicks(store.interactions("train"), histories(store), len(store.items))
    return ClickStream(
        clicks,
        batch_size=batch_size,
        num_negatives=NUM_NEGATIVES,
        positives_only=True,
        epoch_batch=steps,
    )


def recommender(name: str, catalog: Catalog, seed: int = 2023) -> Recommender:
    """One of the two models, with fresh weights."""
    torch.manual_seed(seed)
    source = TableSource(catalog, embed_dim=WIDTH)
    if name == "naml":
        kinds = [part.kind for part in catalog.fields]
        items: torch.nn.Module = NAMLItemEncoder(
            WIDTH, kinds, WIDTH, kernel_size=3, dropout=DROPOUT, attention_dim=ATTENTION
        )
        users: torch.nn.Module = NAMLUserEncoder(WIDTH, attention_dim=ATTENTION)
    else:
        items = NRMSItemEncoder(WIDTH, WIDTH, HEADS, dropout=DROPOUT, attention_dim=ATTENTION)
        users = NRMSUserEncoder(WIDTH, HEADS, attention_dim=ATTENTION, dropout=DROPOUT)
    return Recommender(source, items, users, DotPredictor())


@dataclass
class Clock:
    """Seconds spent inside wrapped calls, by name. A call inside another is counted only under its own name.

    Args:
        now: seconds of the wall clock, or CPU time.
    """

    now: Callable[[], float] = time.perf_counter
    seconds: dict[str, float] = field(default_factory=dict)
    _inner: list[float] = field(default_factory=list)

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same callable, timed."""

        @wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            begin = self.now()
            try:
                return call(*args, **kwargs)
            finally:
                spent = self.now() - begin
                self.seconds[name] = self.seconds.get(name, 0.0) + spent - self._inner.pop()
                if self._inner:
                    self._inner[-1] += spent

        return timed

    def on(self, owner: object, attribute: str, name: str) -> AbstractContextManager:
        """Time a method of an object, or a function of a module, for as long as the context lasts."""
        return patch.object(owner, attribute, self.wrap(name, getattr(owner, attribute)))


class WatchedStream:
    """A stream whose batches are timed, and whose slots and distinct items are counted."""

    def __init__(self, stream: ClickStream, clock: Clock) -> None:
        self.stream, self.seed = stream, stream.seed
        self._batch = clock.wrap("batches", stream.batch)
        self.forget()

    def forget(self) -> None:
        """Start counting again."""
        self.items = self.slots = self.padded = 0

    def epoch(self, number: int) -> range:
        return self.stream.epoch(number)

    def batch(self, number: int) -> ClickBatch:
        batch = self._batch(number)
        self.items += len(batch.items)
        self.slots += int(batch.history_mask.sum()) + int(batch.candidate_mask.sum())
        self.padded += batch.labels.shape[0] * (HISTORY_LENGTH + batch.labels.shape[1])
        return batch
