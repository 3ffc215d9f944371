"""A factorization machine and an MLP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from legorec.nn.mlp import PairScore, pair_linear
from legorec.nn.scales import score


class DeepFMPredictor(nn.Module):
    """``w . [u; v] + u . v + MLP([u; v])``: factorization machine plus MLP (DeepFM; Guo et al., 2017).

    The fields of the machine are the user and the item. They are vectors, not ids, so the first-order term is
    linear in the vectors, and the second-order term of the two fields is their inner product.

    Args:
        input_dim: width of user and item vectors.
        mlp_dims: widths of the MLP (Legommenders: 1000, 1000, 1000), followed by a linear layer.
        dropout, activation: after every layer of the MLP.
    Raises:
        ValueError: no layer in the MLP, or one without width.
    Legommenders averages the second-order term and the MLP and has no first-order term; this is the paper's
    sum of all three. The user's part of the first-order term is the same for all candidates, so it gets no
    gradient from a loss that only compares candidates, such as a softmax over them.
    """

    def __init__(
        self,
        input_dim: int,
        mlp_dims: Sequence[int] = (256, 128),
        dropout: float = 0.1,
        activation: Literal["relu", "tanh", "sigmoid"] = "relu",
    ) -> None:
        super().__init__()
        self.linear = score(2 * input_dim)
        self.deep = PairScore(input_dim, mlp_dims, dropout, activation, bias=False)

    def forward(self, user_BD: Tensor, candidates_BKD: Tensor) -> Tensor:
        """(B, K)"""
        first = pair_linear(user_BD, candidates_BKD, self.linear.weight, self.linear.bias)
        second = candidates_BKD @ user_BD.unsqueeze(2)
        return (first + second).squeeze(2) + self.deep(user_BD, candidates_BKD)
