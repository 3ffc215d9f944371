"""Bricks as such models are usually written, which ``benchmarks.learning`` names by their dotted path.

They are a contender, not a part of the library: tables drawn from N(0, 1), torch's own initial weights, and
NAML's items in one weighted mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from legorec.batch import TokenStates, TokenVectors
from legorec.sources.table import TableSource

if TYPE_CHECKING:
    from legorec.data.catalog import Catalog, Tokens


class PlainSource(nn.Module):
    """The source ``table`` with vectors drawn from N(0, 1), torch's own start of ``nn.Embedding``."""

    gives: ClassVar[str] = "tokens"

    def __init__(
        self, catalog: Catalog, embed_dim: int = 64, vectors: Mapping[str, TokenVectors] | None = None
    ) -> None:
        super().__init__()
        self.table = TableSource(catalog, embed_dim, vectors)
        self.dim, self.field_kinds = embed_dim, self.table.field_kinds
        if self.table.learned is not None:
            nn.init.normal_(self.table.learned)

    def forward(self, items: Tensor) -> TokenStates:
        return self.table(items)

    def embed(self, tokens: Tokens) -> TokenStates:
        return self.table.embed(tokens)


class OnePoolItemEncoder(nn.Module):
    """Convolved words and projected categories in one weighted mean, and nothing rectified: NAML without its
    second level. All texts share one convolution, all other fields one dense layer."""

    def __init__(
        self,
        input_dim: int,
        field_kinds: Sequence[str],
        hidden_dim: int = 64,
        kernel_size: int = 3,
        dropout: float = 0.1,
        attention_dim: int = 200,
    ) -> None:
        super().__init__()
        self.output_dim = hidden_dim
        self.field_kinds = tuple(field_kinds)
        self.conv = nn.Conv1d(input_dim, hidden_dim, kernel_size, padding="same")
        self.linear = nn.Linear(input_dim, hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(hidden_dim, attention_dim)
        self.query = nn.Linear(attention_dim, 1, bias=False)

    def forward(self, states: TokenStates) -> Tensor:
        """(N, D); an item without a token is zero."""
        parts, masks = [], []
        for place, kind in enumerate(self.field_kinds):
            values_NLE, mask_NL = states.padded(place)
            if mask_NL.shape[1] == 0:  # no item has this field
                continue
            text = kind == "text"
            parts.append(
                self.dropout(self.conv(values_NLE.transpose(1, 2)).transpose(1, 2))
                if text
                else self.linear(values_NLE)
            )
            masks.append(mask_NL)
        if not parts:
            return states.values.new_zeros(len(states.lengths), self.output_dim)
        values_NLD, mask_NL = torch.cat(parts, 1), torch.cat(masks, 1)
        logits_NL = self.query(torch.tanh(self.hidden(values_NLD))).squeeze(2).masked_fill(~mask_NL, -1e9)
        weights_NL = logits_NL.softmax(1) * mask_NL
        return (weights_NL.unsqueeze(1) @ values_NLD).squeeze(1)
