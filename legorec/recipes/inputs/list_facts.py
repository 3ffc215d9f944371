"""What the list metrics of a run have to know of the items, from its store and its training clicks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from legorec.data.list_facts import shares_of
from legorec.data.tf_idf import tf_idf
from legorec.item_lists import ItemFacts
from legorec.metrics import list_needs
from legorec.recipes.inputs.given_vectors import read_tables

if TYPE_CHECKING:
    from legorec.recipes.inputs.store_data import Data
    from legorec.settings import Settings

ITEMS = "items"  # the table of `embed.tables` with a row an item


def item_facts(data: Data, settings: Settings, names: list[str], num_candidates: int) -> ItemFacts:
    """What the metrics of these names need, and nothing else.

    Raises:
        ValueError: the store does not have what the settings name.
    """
    needs = list_needs(names)
    counted = "clicks" in needs
    return ItemFacts(
        num_candidates=num_candidates,
        num_real=data.num_real,
        num_users=len(data.training.known.users()) if counted else 0,
        clicks=data.training.known.counts() if counted else None,
        categories=_categories(data, settings) if "categories" in needs else None,
        vectors=_vectors(data, settings) if "vectors" in needs else None,
    )


def _categories(data: Data, settings: Settings) -> Any:
    name = settings.exp.evaluation.list_category
    assert name is not None, "the settings were checked"
    field = data.category(name, "exp.evaluation.list_category")
    return shares_of(field.rows, field.vocab_size)


def _vectors(data: Data, settings: Settings) -> Any:
    """(N, E) of length 1, or 0 where an item has none."""
    if settings.exp.evaluation.list_vectors == "given":
        tables = read_tables(settings.embed, data)
        if ITEMS not in tables:
            raise ValueError(
                "`exp.evaluation.list_vectors` is 'given', and `embed.tables` has no table of the items; "
                "give one, or take 'tfidf'"
            )
        weight = torch.as_tensor(tables[ITEMS].weight).float()
        return torch.nn.functional.normalize(weight, dim=1).cpu().numpy().astype(np.float64)
    from scipy.sparse import csr_array

    found, size = tf_idf(data.catalog), sum(data.catalog.vocabularies.values())
    tokens = found.tokens
    return csr_array((found.weights, tokens.values, tokens.offsets), shape=(len(tokens), size))
