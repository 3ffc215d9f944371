"""Vectors of items that are in no store, from their fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from legorec.abilities import EmbedsNewItems, LanguageSource
from legorec.data.catalog import Catalog
from legorec.halving import Halving
from legorec.item_parts import learns_items
from legorec.recipes.inputs.new_items import catalogs_of
from legorec.recipes.inputs.store_data import Data
from legorec.recommender import Recommender


def check_encodes(model: Recommender, way_to_base: str | None = None) -> None:
    """Raises ValueError: the model cannot make a vector of a new item, see ``encode_new``."""
    if model.reads_rows:
        raise ValueError(
            "a brick of this model looks items up by their rows in the store (click_items, "
            "candidate_items or states), and a new item has none; give raw ids, or another model"
        )
    if way_to_base is not None:
        raise ValueError(f"a new item is read by the language model, the base of this model: {way_to_base}")
    embed = [isinstance(part.source, EmbedsNewItems) for part in model.item_parts]
    for part, embeds in zip(model.item_parts, embed, strict=True):
        if not embeds and not (part.name and learns_items(part.source)):
            raise ValueError(
                f"{type(part.source).__name__} reads item ids alone; it cannot encode a new item"
            )
    if not any(embed):
        raise ValueError("no part of the items reads their fields; a new item cannot be encoded")


def encode_new(
    model: Recommender,
    data: Data,
    items: Sequence[Mapping[str, Any]],
    halving: Halving,
    way_to_base: str | None = None,
) -> Tensor:
    """(N, D) vectors of new items, page by page.

    Args:
        halving: pages of items that fit into memory.
        way_to_base: of a model whose language model is not at hand: how to load it with that.
    Raises:
        ValueError: the model reads items by their ids alone, its language model is not there, or an item has
            a field that it does not read.
    """
    check_encodes(model, way_to_base)
    fresh = dict(zip(map(id, data.catalogs), catalogs_of(data, items), strict=True))
    read: dict[str, Catalog] = {
        part.name: fresh[id(data.reading(isinstance(part.source, LanguageSource)))]
        for part in model.item_parts
        if isinstance(part.source, EmbedsNewItems)
    }

    def encode(rows: Tensor) -> Tensor:
        return model.encode_new_items({name: each.tokens(rows) for name, each in read.items()})

    return torch.cat(list(halving.pages(torch.arange(len(items)), encode, "new item {}".format)))
