"""Inner product."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class DotPredictor(nn.Module):
    """Inner product of user and candidate: the click prediction of NAML and NRMS (Wu et al., 2019a and b)."""

    is_inner_product: ClassVar[bool] = True

    def forward(self, user_BD: Tensor, candidates_BKD: Tensor) -> Tensor:
        """(B, K)"""
        return (candidates_BKD @ user_BD.unsqueeze(2)).squeeze(2)
