"""An MLP over user and candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from legorec.nn.mlp import PairScore


class DNNPredictor(nn.Module):
    """``w . MLP([u; v]) + b``: the deep part of Wide & Deep (Cheng et al., 2016).

    Args:
        input_dim: width of user and item vectors.
        mlp_dims: widths of the hidden layers (Legommenders' rankers: 1000, 1000, 1000).
        dropout, activation: after every hidden layer.
    Raises:
        ValueError: no hidden layer, or one without width.
    """

    def __init__(
        self,
        input_dim: int,
        mlp_dims: Sequence[int] = (256, 128),
        dropout: float = 0.1,
        activation: Literal["relu", "tanh", "sigmoid"] = "relu",
    ) -> None:
        super().__init__()
        self.deep = PairScore(input_dim, mlp_dims, dropout, activation)

    def forward(self, user_BD: Tensor, candidates_BKD: Tensor) -> Tensor:
        """(B, K)"""
        return self.deep(user_BD, candidates_BKD)
