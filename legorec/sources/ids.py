"""Source of ids: an item is one learned vector."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from legorec.abilities import RowsOf
from legorec.batch import TokenStates
from legorec.nn.dropout import Dropout
from legorec.nn.fused import gather_rows
from legorec.nn.scales import short_vectors
from legorec.nn.sending import sent


class IdsSource(nn.Module):
    """Item -> one learned vector of its own, without content.

    Vectors start as ``nn.scales`` says. An item that training never saw keeps its random vector, and as one
    part of several it has none (``legorec.item_parts``). Use it with the item encoder ``single``.

    Args:
        embed_dim: width of the learned vectors.
        dropout: share of values set to zero in training.
    """

    gives: ClassVar[str] = "vector"
    learns_items: ClassVar[bool] = True

    def __init__(self, num_items: int, embed_dim: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim = embed_dim
        self.field_kinds = ("id",)
        self.learned = short_vectors(num_items, embed_dim)
        self.dropout = Dropout(dropout)

    def row_owners(self) -> dict[str, list[RowsOf]]:
        """A row of ``learned`` for each item."""
        return {"learned": [RowsOf("items", len(self.learned))]}

    def forward(self, items: Tensor) -> TokenStates:
        """One state for each of ``items`` (N,), rows of the catalogue on the host."""
        rows = gather_rows(self.learned, *sent(self.learned.device, items))
        return TokenStates(self.dropout(rows), torch.ones(len(items), 1, dtype=torch.int64))
