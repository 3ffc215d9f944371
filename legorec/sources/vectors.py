"""Source of given vectors: an item is one row of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from legorec.abilities import RowsOf
from legorec.batch import TokenStates, TokenVectors
from legorec.nn.sending import sent
from legorec.nn.table import GivenTable

ITEMS = "items"


class VectorsSource(nn.Module):
    """Item -> its row of a given table, such as vectors of a language model or of images.

    Args:
        vectors: given tables by name; the one named ``items`` has a row per item. ``transform: linear`` puts
            a projection after it at any width.
        embed_dim: width of the items; None: the table's. Where it differs, a projection follows the table.
    Raises:
        ValueError: no such table, or not one row per item.
    """

    gives: ClassVar[str] = "vector"

    def __init__(
        self, num_items: int, vectors: Mapping[str, TokenVectors] | None, embed_dim: int | None = None
    ) -> None:
        super().__init__()
        if not vectors or ITEMS not in vectors:
            named = ", ".join(vectors or ()) or "none"
            raise ValueError(f"the source `vectors` needs a table named '{ITEMS}', got {named}")
        given = vectors[ITEMS]
        shape = tuple(given.weight.shape)
        if len(shape) != 2 or shape[0] != num_items:
            raise ValueError(
                f"the vectors of '{ITEMS}' must have one row for each of the {num_items} items, got {shape}"
            )
        self.dim = embed_dim or shape[1]
        if given.transform == "none" and self.dim != shape[1]:
            raise ValueError(
                f"the vectors of '{ITEMS}' must be `embed_dim` ({embed_dim}) wide, got {shape[1]}; "
                f"`transform: auto` adds a projection"
            )
        projected = given.transform == "linear" or self.dim != shape[1]
        self.field_kinds = ("vector",)
        self.table = GivenTable(given.weight, given.frozen, self.dim, projected, given.dropout)

    def row_owners(self) -> dict[str, list[RowsOf]]:
        """A row of the table for each item."""
        return {"table.rows.weight": [RowsOf("items", len(self.table.weight))]}

    def forward(self, items: Tensor) -> TokenStates:
        """One state for each of ``items`` (N,), rows of the catalogue on the host."""
        values = self.table(*sent(self.table.weight.device, items))
        return TokenStates(values, torch.ones(len(items), 1, dtype=torch.int64))
