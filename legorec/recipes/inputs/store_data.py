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
from legorec.recipes.codes import read_codes
from legorec.recipes.tables import read_tables
from legorec.recipes.token_table import check_token_table
from legorec.recommender import Recommender
from legorec.registry import find

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
    def profiles(self) -> Catalog | None:
        """The users' fields, where `data.user_fields` names some."""
        fields = self.settings.user_fields
        return Catalog.from_table(self.store.users, fields) if fields else None

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
    store.require(list(data.fields), data.made_with, wanted, list(data.user_fields))
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
    """The bricks, built in order, each told the width of the one before; weights drawn from the seed."""
    torch.manual_seed(settings.seed)
    model = settings.model
    catalog = data.catalog.to(device)
    offered: dict[str, Any] = {
        "catalog": catalog,
        "num_items": data.num_items,
        "num_users": len(data.store.users),
        "max_history": data.settings.history.max_length or max(1, int(data.histories.lengths.max(initial=0))),
    }
    if data.profiles is not None:
        offered["profiles"] = data.profiles.to(device)
    if settings.embed.codes is not None:
        offered["codes"] = read_codes(Path(settings.embed.codes.path), data)
    if checkpoint_of(settings) is None:
        offered["vectors"] = read_tables(settings.embed, data)
    source = build("source", model.source, offered)
    states = {"input_dim": source.dim, "field_kinds": source.field_kinds}
    if "catalog" in find("source", model.source.name).offered:
        offered["max_tokens"] = int(catalog.lengths.sum(1).max()) if catalog.num_items else 0
    if checkpoint_of(settings) is not None:
        check_token_table(settings.embed, source.pretrained)
        states |= {"pretrained": source.pretrained, "depth": source.depth}
    item_encoder = build("item_encoder", model.item_encoder, offered | states)
    width = {"input_dim": item_encoder.output_dim, "token_dim": source.dim}
    user_encoder = build("user_encoder", model.user_encoder, offered | width)
    plugin = build("user_plugin", model.user_plugin, offered | width) if model.user_plugin else None
    predictor = build("predictor", model.predictor, offered | width)
    page_size = settings.exp.policy.item_page_size
    return Recommender(source, item_encoder, user_encoder, predictor, plugin, page_size).to(device)
