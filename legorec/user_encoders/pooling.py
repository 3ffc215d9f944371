"""User encoder that averages."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


class PoolingUserEncoder(nn.Module):
    """Mean or maximum of the clicked items, without parameters.

    Args:
        input_dim: width of the item vectors, and of the user vectors.
        mode: ``mean``, or ``max``, coordinate by coordinate.
    Unlike in ``Pooling`` of Legommenders, where padding counts as zeros, the maximum is over the clicks only.
    """

    def __init__(self, input_dim: int, mode: Literal["mean", "max"] = "mean") -> None:
        super().__init__()
        self.output_dim = input_dim
        self.mode = mode

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        """(B, D) of item vectors and True where a click exists; an empty history is zero."""
        there_BH1 = mask_BH.unsqueeze(2)
        if self.mode == "mean" or clicks_BHD.shape[1] == 0:  # `amax` needs at least one place
            return torch.where(there_BH1, clicks_BHD, 0.0).sum(1) / there_BH1.sum(1).clamp(min=1)
        maxima_BD = torch.where(there_BH1, clicks_BHD, torch.finfo(clicks_BHD.dtype).min).amax(1)
        return torch.where(mask_BH.any(1, keepdim=True), maxima_BD, 0.0)
