"""User encoder that leaves the clicks as they are."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


class HistoryUserEncoder(nn.Module):
    """The clicks themselves, for predictors that compare each with the candidate, such as DIN."""

    gives: ClassVar[str] = "clicks"

    def __init__(self, input_dim: int) -> None:
        super().__init__()
        self.output_dim = input_dim

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        """(B, H, D) of item vectors and True where a click exists; zero where none does."""
        return torch.where(mask_BH.unsqueeze(2), clicks_BHD, 0.0)
