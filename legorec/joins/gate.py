"""Join of an item's parts by learned weights for each of its values."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GateJoin(nn.Module):
    """A weighted mean of an item's parts, with weights of each value of each part (gated multimodal units;
    Arevalo et al., 2017, eq. 2).

    The weights are a softmax over the parts that are there, of a linear function of all of them. They start
    equal.

    Args:
        input_dim: width of a part.
        num_parts: how many parts an item has.
    Unlike in the paper, there may be more than two parts, and a part goes through no further layer before it
    is weighted. Unlike in ``sum``, an item that lacks a part gives its weight to the others.
    """

    def __init__(self, input_dim: int, num_parts: int) -> None:
        super().__init__()
        self.weigh = nn.Linear(num_parts * input_dim, num_parts * input_dim)
        nn.init.zeros_(self.weigh.weight)
        nn.init.zeros_(self.weigh.bias)

    def forward(self, parts_NPD: Tensor, mask_NP: Tensor) -> Tensor:
        """(N, D); a part that is not there weighs nothing, and an item without any is zero."""
        logits_NPD = self.weigh(parts_NPD.flatten(1)).view(parts_NPD.shape)
        # The lowest number and not minus infinity: an item without any part would have no weights at all.
        lowest = torch.finfo(logits_NPD.dtype).min
        weights_NPD = logits_NPD.masked_fill(~mask_NP.unsqueeze(2), lowest).softmax(1)
        return (weights_NPD * parts_NPD).sum(1)
