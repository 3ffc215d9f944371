"""Settings -> the data and the model that a recipe works on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from legorec.build import build
from legorec.data.catalog import Catalog
from legorec.data.clicks import TrainingClicks
from legorec.data.evaluation import Impressions
from legorec.data.histories import Histories
from legorec.data.item_text import ItemText, tokenization_of
from legorec.data.store import Store
from legorec.recipes.tables import read_tables
from legorec.recipes.token_table import check_token_table
from legorec.recommender import Recommender

if TYPE_CHECKING:
    from legorec.settings import DataSettings, Settings


@dataclass
class Data:
    """One store as the settings cut it."""

    store: Store
    catalog: Catalog
    histories: Histories
    settings: DataSettings

    @property
    def num_items(self) -> int:
        return len(self.store.items)

    @cached_property
    def training(self) -> TrainingClicks:
        """Everything that training may look at; the popularity baseline counts it too."""
        interactions = self.store.interactions(self.settings.splits.train)
        return TrainingClicks(interactions, self.histories, self.num_items)

    def impressions(self, split: str) -> Impressions:
        """The impressions of ``dev`` or ``test``, to be ranked."""
        interactions = self.store.interactions(getattr(self.settings.splits, split))
        return Impressions(interactions, self.histories, self.num_items, self.settings.group_by)


def open_data(settings: Settings, splits: Iterable[str] = ()) -> Data:
    """Open the store, cut its fields or fill its template, and cut its histories to length.

    Raises:
        ValueError: it is missing, altered, made otherwise, or lacks a field, a tokenization or one of
            ``splits``.
    """
    data = settings.data
    store = Store.open(Path(data.store))
    wanted = [getattr(data.splits, split) for split in splits]
    store.require(fields=list(data.fields), made_with=data.made_with, splits=wanted)
    histories = Histories(store.histories, store.spans, data.history.max_length)
    return Data(store, _catalog(settings, store), histories, data)


def checkpoint_of(settings: Settings) -> str | None:
    """The language model that the source names, if it does."""
    return settings.model.source.arguments.get("checkpoint")


def _catalog(settings: Settings, store: Store) -> Catalog:
    text, checkpoint = settings.data.text, checkpoint_of(settings)
    if text is None:
        return Catalog.from_store(store, settings.data.fields)
    name = text.tokenizer
    if checkpoint is not None:
        from legorec.lm.pretrained import find_pretrained

        own = find_pretrained(checkpoint)
        name = tokenization_of(store, own.tokenizer(), own.name, name)
    if name is None:
        raise ValueError(
            "`data.text.tokenizer` must name one of the store's tokenizations where the model is no language "
            f"model with a tokenizer of its own; there are {', '.join(store.manifest['tokenizers'])}"
        )
    return Catalog.from_text(store, ItemText(text.template, store.tokenizer(name), name))


def build_model(settings: Settings, data: Data, device: torch.device) -> Recommender:
    """The four bricks, built in order, each told the width of the one before; weights drawn from the seed."""
    torch.manual_seed(settings.seed)
    model = settings.model
    _check_widths(settings)
    catalog = data.catalog.to(device)
    offered: dict[str, Any] = {
        "catalog": catalog,
        "num_items": data.num_items,
        "num_users": len(data.store.users),
    }
    if checkpoint_of(settings) is None:
        offered["vectors"] = read_tables(settings.embed, data)
    source = build("source", model.source, offered)
    states = {"input_dim": source.dim, "field_kinds": source.field_kinds}
    if checkpoint_of(settings) is not None:
        check_token_table(settings.embed, source.pretrained)
        states |= {"pretrained": source.pretrained, "depth": source.depth}
    item_encoder = build("item_encoder", model.item_encoder, offered | states)
    width = {"input_dim": item_encoder.output_dim, "output_dim": item_encoder.output_dim}
    user_encoder = build("user_encoder", model.user_encoder, offered | width)
    predictor = build("predictor", model.predictor, offered | width)
    return Recommender(source, item_encoder, user_encoder, predictor, settings.exp.policy.item_page_size).to(
        device
    )


def _check_widths(settings: Settings) -> None:
    """Torch says of a width of 0 or below what no user can read."""
    for kind, brick in settings.model:
        for key, value in getattr(brick, "arguments", {}).items():
            if key.endswith("_dim") and isinstance(value, int) and value < 1:
                raise ValueError(f"model.{kind} '{brick.name}': `{key}` must be at least 1, got {value}")
