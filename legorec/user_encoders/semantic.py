"""User encoder over semantic codes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from legorec.abilities import RowsOf
from legorec.batch import ItemCodes
from legorec.nn.attention import AdditiveAttention, MultiHeadSelfAttention
from legorec.nn.dropout import Dropout
from legorec.nn.fused import gather_rows
from legorec.nn.recurrent import RaggedGRU
from legorec.nn.scales import short_vectors
from legorec.nn.sizes import check_heads


class SemanticUserEncoder(nn.Module):
    """A user vector from the clicks' semantic codes, at several resolutions; ``Semantic`` of Legommenders.

    At level l a click is the sum of the learned vectors of its codes at levels 0 to l. Each level has its own
    encoder over these sums, and the user vector is a weighted mean over the levels, with weights from a
    learned query.

    Args:
        codes: of every item; they are not part of the state.
        input_dim: width of the code vectors, and of the user vectors.
        encoder: of one level: ``additive`` as in NAML, ``attention`` (self-attention, then additive) as in
            NRMS, ``gru`` for the state after the last click.
        heads: of ``attention``.
        attention_dim: width of the queries that weight clicks and levels.
        dropout: on the vectors of the clicks, before the encoder of each level.
    Raises:
        ValueError: another ``encoder``, or ``heads`` does not divide ``input_dim``.
    Only the codes of the clicks are read: item vectors get no gradient from here and learn only as
    candidates. The code vectors are the encoder's own and are not shared with the source ``codes``. With one
    level there are no weights.
    """

    def __init__(
        self,
        codes: ItemCodes,
        input_dim: int,
        encoder: Literal["additive", "attention", "gru"] = "additive",
        heads: int = 8,
        attention_dim: int = 200,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.output_dim = input_dim
        levels = codes.values.shape[1]
        shifts = torch.tensor([0, *codes.sizes[:-1]], device=codes.values.device).cumsum(0)
        self.rows: Tensor  # (num_items, levels) of the table
        self.register_buffer("rows", codes.values + shifts, persistent=False)
        self.learned = short_vectors(sum(codes.sizes), input_dim)
        self.dropout = Dropout(dropout)
        self.encoders = nn.ModuleList(_Level(input_dim, encoder, heads, attention_dim) for _ in range(levels))
        self.pool = AdditiveAttention(input_dim, attention_dim) if levels > 1 else None

    def row_owners(self) -> dict[str, list[RowsOf]]:
        """A row of ``learned`` for each code."""
        return {"learned": [RowsOf("codes", len(self.learned))]}

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor, click_items: Tensor) -> Tensor:
        """(B, D); an empty history is zero.

        Args:
            clicks_BHD: not read.
            mask_BH: True where a click exists.
            click_items: (B, H) catalogue rows, oldest first; any row where masked.
        """
        rows_BHL = self.rows.index_select(0, click_items.flatten()).view(*mask_BH.shape, len(self.encoders))
        levels, sum_BHD = [], torch.zeros((), device=mask_BH.device)
        for level, encoder in enumerate(self.encoders):
            sum_BHD = sum_BHD + gather_rows(self.learned, rows_BHL[..., level])
            levels.append(encoder(self.dropout(sum_BHD), mask_BH))
        return levels[0] if self.pool is None else self.pool(torch.stack(levels, 1))


class _Level(nn.Module):
    """Clicks (B, H, D) and their mask -> (B, D)."""

    def __init__(self, dim: int, encoder: str, heads: int, attention_dim: int) -> None:
        super().__init__()
        if encoder not in ("additive", "attention", "gru"):
            raise ValueError(f"`encoder` must be 'additive', 'attention' or 'gru', got {encoder!r}")
        if encoder == "attention":
            check_heads(heads, dim, "input_dim")
        self.clicks = MultiHeadSelfAttention(dim, dim, heads) if encoder == "attention" else None
        self.pool = AdditiveAttention(dim, attention_dim) if encoder != "gru" else None
        self.states = RaggedGRU(dim, dim) if encoder == "gru" else None

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        if self.states is not None:
            return self.states(clicks_BHD, mask_BH)[1]
        if self.clicks is not None:
            clicks_BHD = self.clicks(clicks_BHD, mask_BH)
        assert self.pool is not None
        return self.pool(clicks_BHD, mask_BH)
