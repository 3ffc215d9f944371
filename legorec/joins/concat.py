"""Join of an item's parts end to end."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConcatJoin(nn.Module):
    """An item's parts end to end, projected back to the width of one.

    The projection starts as the sum of the parts, so that they are comparable from the first step, and has no
    bias, so that an item without any part stays zero.

    Args:
        input_dim: width of a part.
        num_parts: how many parts an item has.
    Unlike in ``sum``, a part may come to count more or less than another, in each direction of the space.
    """

    def __init__(self, input_dim: int, num_parts: int) -> None:
        super().__init__()
        self.project = nn.Linear(num_parts * input_dim, input_dim, bias=False)
        with torch.no_grad():
            self.project.weight.copy_(torch.eye(input_dim).repeat(1, num_parts))

    def forward(self, parts_NPD: Tensor, mask_NP: Tensor) -> Tensor:
        """(N, D); a part that is not there is zero, and so is an item without any."""
        return self.project(parts_NPD.flatten(1))
