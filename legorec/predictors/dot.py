"""Inner product."""

from __future__ import annotations

from torch import Tensor, nn


class DotPredictor(nn.Module):
    """Inner product of user and candidate: the click prediction of NAML and NRMS (Wu et al., 2019a and b)."""

    def forward(self, user_BD: Tensor, candidates_BKD: Tensor) -> Tensor:
        """(B, K)"""
        return (candidates_BKD @ user_BD.unsqueeze(2)).squeeze(2)
