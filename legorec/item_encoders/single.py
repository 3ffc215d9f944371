"""Item encoder for items that are already one vector."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.nn.fused import gather_rows
from legorec.nn.scales import dense
from legorec.nn.sending import sent


class SingleItemEncoder(nn.Module):
    """The item's first token vector, projected if the widths differ.

    It belongs with the sources ``ids`` and ``vectors``, whose items are one vector each.

    Args:
        input_dim: width of the source's vectors.
        hidden_dim: width of the item vectors.
    """

    reads: ClassVar[tuple[str, ...]] = ("vector",)

    def __init__(self, input_dim: int, hidden_dim: int = 64) -> None:
        super().__init__()
        self.output_dim = hidden_dim
        self.project = nn.Identity() if input_dim == hidden_dim else dense(input_dim, hidden_dim)

    def forward(self, states: TokenStates) -> Tensor:
        """(N, D); an item without a token is zero."""
        rows = states.by_item
        if (rows.lengths.numpy() == 1).all():
            return self.project(states.values)
        if rows.total == 0:
            return states.values.new_zeros(rows.num_rows, self.output_dim)
        first_N = rows.offsets()[:-1].clamp(max=rows.total - 1)
        first_N, present_N = sent(states.values.device, first_N, rows.lengths > 0)
        vectors_ND = self.project(gather_rows(states.values, first_N))
        return torch.where(present_N.unsqueeze(1), vectors_ND, 0.0)
