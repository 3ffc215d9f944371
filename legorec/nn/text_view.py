"""One vector for a text, from its words and their neighbours."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from legorec.nn.attention import AdditiveAttention
from legorec.nn.conv import PackedConv1d
from legorec.nn.dropout import Dropout
from legorec.nn.segments import Segments


class TextView(nn.Module):
    """Convolution, ReLU, and the weighted mean of a text's tokens (Wu et al., 2019; An et al., 2019).

    Args:
        rectified: have the ReLU, as in both papers.
    Raises:
        ValueError: ``kernel_size`` is even.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        kernel_size: int,
        dropout: float,
        attention_dim: int,
        rectified: bool,
    ) -> None:
        super().__init__()
        self.rectified = rectified
        self.conv = PackedConv1d(input_dim, hidden_dim, kernel_size, rectified)
        self.dropout = Dropout(dropout)
        self.pool = AdditiveAttention(hidden_dim, attention_dim)

    def forward(self, values_TE: Tensor, rows: Segments) -> Tensor:
        """(R, hidden_dim) of packed rows; an empty row gives zero."""
        seen_TD = self.conv(values_TE, rows)
        seen_TD = torch.relu(seen_TD) if self.rectified else seen_TD
        return self.pool.packed(self.dropout(seen_TD, rows), rows)
