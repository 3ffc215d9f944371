"""Two-tower recommenders with their weights: scores, best items, and answers to single requests."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from legorec.nn.device import module_device
from legorec.recipes import latency
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.digests import input_digests
from legorec.recipes.inputs.served import Served, Ways
from legorec.recipes.inputs.store_data import Data, open_data
from legorec.recipes.inputs.trained_towers import load_trained
from legorec.recipes.outputs.item_table import item_table
from legorec.recipes.outputs.measure import best_items_watched
from legorec.recipes.outputs.session import Session
from legorec.recipes.tower import click_scorer
from legorec.recipes.trained_recommender import TrainedRecommender
from legorec.recommender import Recommender
from legorec.scorers.top_items import TopItems, top_items

if TYPE_CHECKING:
    from legorec.settings import Settings

AT_HAND, ON_THE_SPOT = "item_vectors_at_hand", "items_encoded_on_the_spot"


def tower_served(settings: Settings, device: torch.device, splits: Sequence[str]) -> Served:
    """A model of the family ``tower``.

    Raises:
        ValueError: something the user can mend in the settings or the store.
    """
    data = open_data(settings, splits)
    model = build_model(settings, data, device)

    def load(run: Path, epoch: int | None) -> Path:
        return load_trained(run, model, settings, data, epoch)

    return Served(
        model,
        data,
        load,
        scorer=lambda impressions, place: click_scorer(model, impressions, place, settings),
        top=lambda users, spans, k, session: top_of(model, data, users, spans, k, settings, session),
        ways=lambda session: ways_of(model, data, settings, session),
        trained=lambda: TrainedRecommender(model.eval(), data),
        inputs=lambda: input_digests(settings, data),
        said=data.filtered,
    )


def top_of(
    model: Recommender,
    data: Data,
    users: np.ndarray,
    spans: np.ndarray,
    k: int,
    settings: Settings,
    session: Session,
) -> TopItems:
    """The ``k`` best items for each user, from a table of all items' vectors."""
    vectors = item_table(model, data.num_items, settings, session)
    with best_items_watched(model, len(users), settings, session) as advanced:
        return top_items(
            model,
            data.histories,
            vectors,
            users,
            spans,
            k,
            num_real=data.num_real,
            batch_size=settings.exp.evaluation.batch_size,
            advanced=advanced,
            processes=session.processes,
            say=session.tell,
        )


def ways_of(model: Recommender, data: Data, settings: Settings, session: Session) -> Ways:
    """Answers from item vectors that were computed beforehand, and with the request's items on the spot."""
    start, device = time.perf_counter(), module_device(model)
    table = item_table(model, data.num_items, settings, session)
    latency.wait_for(device)
    seconds = time.perf_counter() - start
    return Ways(
        {
            AT_HAND: lambda request: latency.answer(model, request, item_table=table),
            ON_THE_SPOT: lambda request: latency.answer(model, request, item_table=None),
        },
        {"items": {"count": data.num_items, "seconds": seconds}},
        f"; the vectors of all {data.num_items:,} items took {seconds:.2f} s beforehand",
    )
