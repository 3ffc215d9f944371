"""Settings -> the data and the model that a recipe works on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from legorec.batch import TokenVectors
from legorec.build import build
from legorec.data.catalog import Catalog
from legorec.data.clicks import TrainingClicks
from legorec.data.evaluation import Impressions
from legorec.data.histories import Histories
from legorec.data.store import Store
from legorec.recommender import Recommender
from legorec.sources.vectors import ITEMS

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

    @cached_property
    def training(self) -> TrainingClicks:
        """Everything that training may look at; the popularity baseline counts it too."""
        interactions = self.store.interactions(self.settings.splits.train)
        return TrainingClicks(interactions, self.histories, self.num_items)

    def impressions(self, split: str) -> Impressions:
        """The impressions of ``dev`` or ``test``, to be ranked."""
        interactions = self.store.interactions(getattr(self.settings.splits, split))
        return Impressions(interactions, self.histories, self.num_items, self.settings.group_by)


def open_data(settings: DataSettings, splits: Iterable[str] = ()) -> Data:
    """Open the store and cut its fields and histories to length.

    Raises:
        ValueError: it is missing, altered, made otherwise, or lacks a field or one of ``splits``.
    """
    store = Store.open(Path(settings.store))
    wanted = [getattr(settings.splits, split) for split in splits]
    store.require(fields=list(settings.fields), made_with=settings.made_with, splits=wanted)
    histories = Histories(store.histories, store.spans, settings.history.max_length)
    return Data(store, Catalog.from_store(store, settings.fields), histories, settings)


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
        "vectors": read_tables(settings.embed, data),
    }
    source = build("source", model.source, offered)
    states = {"input_dim": source.dim, "field_kinds": source.field_kinds}
    item_encoder = build("item_encoder", model.item_encoder, offered | states)
    width = {"input_dim": item_encoder.output_dim, "output_dim": item_encoder.output_dim}
    user_encoder = build("user_encoder", model.user_encoder, offered | width)
    predictor = build("predictor", model.predictor, offered | width)
    return Recommender(source, item_encoder, user_encoder, predictor).to(device)


def _check_widths(settings: Settings) -> None:
    """Torch says of a width of 0 or below what no user can read."""
    for kind, brick in settings.model:
        for key, value in getattr(brick, "arguments", {}).items():
            if key.endswith("_dim") and isinstance(value, int) and value < 1:
                raise ValueError(f"model.{kind} '{brick.name}': `{key}` must be at least 1, got {value}")


def read_tables(settings: EmbedSettings, data: Data) -> dict[str, TokenVectors]:
    """The given tables of ``embed.tables``, by vocabulary; ``items`` names one with a row per item.

    Raises:
        ValueError: a file is missing, holds no matrix, or has another number of rows than the vocabulary.
    """
    tables = {}
    for table in settings.tables:
        weight = read_matrix(Path(table.path))
        known = data.catalog.vocabularies | {ITEMS: data.num_items}
        rows = known.get(table.vocabulary)
        if rows is None:
            raise ValueError(
                f"embed.tables names the vocabulary '{table.vocabulary}', which no field of `data.fields` "
                f"uses; there are {', '.join(known)}"
            )
        if len(weight) != rows:
            raise ValueError(
                f"{table.path} has {len(weight)} rows, the vocabulary '{table.vocabulary}' has {rows}; "
                "the table must belong to the tokenizer, or the items, of this store"
            )
        tables[table.vocabulary] = TokenVectors(weight, frozen=table.frozen, transform=table.transform)
    return tables


def read_matrix(path: Path) -> Tensor:
    """A matrix from ``.npy`` (never pickled) or from the one tensor of a ``.safetensors`` file."""
    if not path.is_file():
        raise ValueError(f"embed.tables: {path} does not exist")
    if path.suffix == ".npy":
        try:
            matrix = torch.from_numpy(np.load(path, allow_pickle=False))
        except (ValueError, TypeError, EOFError):
            raise ValueError(
                f"embed.tables: {path} is no plain .npy matrix (a pickled one is refused)"
            ) from None
    elif path.suffix == ".safetensors":
        try:
            tensors = list(load_file(path).values())
        except SafetensorError as error:
            raise ValueError(f"embed.tables: {path} cannot be read: {error}") from error
        if len(tensors) != 1:
            raise ValueError(f"embed.tables: {path} must hold one tensor, it holds {len(tensors)}")
        matrix = tensors[0]
    else:
        raise ValueError(f"embed.tables: {path} must be a .npy or .safetensors file")
    if matrix.ndim != 2 or not matrix.is_floating_point():
        raise ValueError(
            f"embed.tables: {path} must hold a matrix of floats, one row per token; it holds "
            f"{tuple(matrix.shape)} of {matrix.dtype}"
        )
    if not matrix.isfinite().all():
        raise ValueError(f"embed.tables: {path} holds values that are not finite")
    return matrix.float() if matrix.dtype == torch.float64 else matrix
