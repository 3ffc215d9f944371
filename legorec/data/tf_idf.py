"""TF-IDF of the items' text, from the tokens that a store already holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from legorec.data.catalog import Catalog
from legorec.data.ragged import Ragged


@dataclass(frozen=True)
class WeightedTokens:
    """A sparse vector of length 1 for each item, or of length 0 where it has no token that tells anything."""

    tokens: Ragged  # ids of the catalogue, each once an item
    weights: np.ndarray  # float64, aligned with ``tokens.values``


def tf_idf(catalog: Catalog) -> WeightedTokens:
    """TF-IDF of all text fields of a catalogue, cut as the model reads them.

    The weight of a token is ``tf * log(N / df)``: how often the item has it, times the logarithm of all items
    over those that have it (Sparck Jones, 1972). What every item has, as the words of a template, weighs 0.

    Raises:
        ValueError: no field is text.
    """
    kinds = [part.kind == "text" for part in catalog.fields]
    if not any(kinds):
        raise ValueError(f"a field of text is needed, there are {', '.join(p.name for p in catalog.fields)}")
    tokens = catalog.tokens(torch.arange(catalog.num_items))
    lengths = tokens.lengths.numpy()
    item = np.repeat(np.arange(catalog.num_items), lengths.sum(1))
    is_text = np.repeat(np.tile(kinds, catalog.num_items), lengths.reshape(-1))
    size = sum(catalog.vocabularies.values())
    keys, counts = np.unique(item[is_text] * size + tokens.ids.cpu().numpy()[is_text], return_counts=True)
    item, token = np.divmod(keys, size)
    having = np.bincount(token, minlength=size)
    raw = counts * np.log(catalog.num_items / np.maximum(having, 1))[token]
    norms = np.sqrt(np.bincount(item, weights=raw**2, minlength=catalog.num_items))
    weights = raw / np.where(norms > 0, norms, 1)[item]
    return WeightedTokens(Ragged.from_lengths(token, np.bincount(item, minlength=catalog.num_items)), weights)
