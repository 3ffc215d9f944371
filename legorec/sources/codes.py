"""Source of semantic codes: an item is one code per level."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from legorec.abilities import RowsOf
from legorec.batch import ItemCodes, TokenStates
from legorec.nn.dropout import Dropout
from legorec.nn.fused import gather_rows
from legorec.nn.scales import short_vectors
from legorec.nn.sending import sent


class CodesSource(nn.Module):
    """Item -> the learned vectors of its semantic codes, one for each level, from coarse to fine.

    The codes come from the content, so that similar items share vectors, and a rare item has vectors that
    other items have trained (semantic ids; Rajput et al., 2023). Every level has codes of its own; one table,
    drawn as ``nn.scales`` says, holds them level after level.

    Args:
        codes: of every item; they are not part of the state.
        embed_dim: width of the learned vectors.
        dropout: share of values set to zero in training.
    Raises:
        ValueError: the codes are not one row for each item.
    A level counts as a field of kind ``category``, so that any item encoder for tokens can read it. Unlike
    the user encoder ``semantic``, this source does not sum over levels: that is left to the item encoder.
    """

    def __init__(self, codes: ItemCodes, num_items: int, embed_dim: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        count, levels = codes.values.shape
        if count != num_items:
            raise ValueError(f"`codes` must have one row for each of the {num_items} items, got {count}")
        self.dim = embed_dim
        self.field_kinds = ("category",) * levels
        shifts = torch.tensor([0, *codes.sizes[:-1]], device=codes.values.device).cumsum(0)
        self.rows: Tensor  # (num_items, levels) of the table
        self.register_buffer("rows", codes.values + shifts, persistent=False)
        self.learned = short_vectors(sum(codes.sizes), embed_dim)
        self.dropout = Dropout(dropout)

    def row_owners(self) -> dict[str, list[RowsOf]]:
        """A row of ``learned`` for each code."""
        return {"learned": [RowsOf("codes", len(self.learned))]}

    def forward(self, items: Tensor) -> TokenStates:
        """A state for each level of ``items`` (N,), rows of the catalogue on the host."""
        rows_NL = self.rows.index_select(0, *sent(self.rows.device, items))
        lengths = torch.ones(rows_NL.shape, dtype=torch.int64)
        return TokenStates(self.dropout(gather_rows(self.learned, rows_NL)).flatten(0, 1), lengths)
