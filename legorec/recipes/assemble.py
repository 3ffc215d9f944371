"""Settings -> the data and the model that a recipe works on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from legorec.build import build
from legorec.data.catalog import Catalog
from legorec.data.clicks import TrainingClicks
from legorec.data.histories import Histories
from legorec.data.evaluation import Impressions
from legorec.data.store import Store
from legorec.recommender import Recommender
from legorec.sources.table import TokenVectors

if TYPE_CHECKING:
    from legorec.settings import DataSettings, EmbedSettings, Settings


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

    def training(self) -> TrainingClicks:
        """Everything that training may look at."""
        interactions = self.store.interactions(self.settings.splits.train)
        return TrainingClicks(interactions, self.histories, self.num_items)

    def impressions(self, split: str) -> Impressions:
        """The impressions of ``dev`` or ``test``, to be ranked."""
        interactions = self.store.interactions(getattr(self.settings.splits, split))
        return Impressions(interactions, self.histories, self.num_items, self.settings.group_by)


def open_data(settings: DataSettings, splits: Iterable[str] = ()) -> Data:
    """Open the store, refuse one that was made otherwise or lacks a split, and cut fields and histories to length."""
    store = Store.open(Path(settings.store))
    wanted = [getattr(settings.splits, split) for split in splits]
    store.require(fields=list(settings.fields), made_with=settings.made_with, splits=wanted)
    histories = Histories(store.histories, store.spans, settings.history.max_length)
    return Data(store, Catalog.from_store(store, settings.fields), histories, settings)


def build_model(settings: Settings, data: Data, device: torch.device) -> Recommender:
    """The four bricks, built in order, each told the width of the one before; weights drawn from the seed."""
    torch.manual_seed(settings.seed)
    model = settings.model
    catalog = data.catalog.to(device)
    offered: dict[str, Any] = {
        "catalog": catalog,
        "num_items": data.num_items,
        "num_users": len(data.store.users),
        "num_fields": len(catalog.fields),
        "fields": [part.name for part in catalog.fields],
        "field_kinds": [part.kind for part in catalog.fields],
        "vectors": read_tables(settings.embed, data),
    }
    source = build("source", model.source, offered)
    if model.source.name in ("ids", "vectors"):
        offered |= {"num_fields": 1, "fields": ["id"], "field_kinds": ["id"]}
    item_encoder = build("item_encoder", model.item_encoder, offered | {"input_dim": source.dim})
    width = {"input_dim": item_encoder.output_dim, "output_dim": item_encoder.output_dim}
    user_encoder = build("user_encoder", model.user_encoder, offered | width)
    predictor = build("predictor", model.predictor, offered | width)
    return Recommender(source, item_encoder, user_encoder, predictor).to(device)


def read_tables(settings: EmbedSettings, data: Data) -> dict[str, TokenVectors]:
    """The given token tables of ``embed.tables``, by vocabulary.

    Raises:
        ValueError: a file is missing, holds no matrix, or has another number of rows than the vocabulary.
    """
    tables = {}
    for table in settings.tables:
        weight = read_matrix(Path(table.path))
        rows = data.catalog.vocabularies.get(table.vocabulary)
        if rows is None:
            raise ValueError(
                f"embed.tables names the vocabulary '{table.vocabulary}', which no field of `data.fields` uses; "
                f"used are {', '.join(data.catalog.vocabularies)}"
            )
        if len(weight) != rows:
            raise ValueError(
                f"{table.path} has {len(weight)} rows, the vocabulary '{table.vocabulary}' has {rows} tokens; "
                "the table must belong to the tokenizer that the store was made with"
            )
        tables[table.vocabulary] = TokenVectors(weight, frozen=table.frozen, transform=table.transform)
    return tables


def read_matrix(path: Path) -> np.ndarray | Tensor:
    """A matrix from ``.npy`` (never pickled) or from the one tensor of a ``.safetensors`` file."""
    if not path.is_file():
        raise ValueError(f"embed.tables: {path} does not exist")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        tensors = list(load_file(path).values())
        if len(tensors) != 1:
            raise ValueError(f"{path} must hold one tensor, it holds {len(tensors)}")
        return tensors[0]
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    raise ValueError(f"embed.tables: {path} must be a .npy or .safetensors file")
