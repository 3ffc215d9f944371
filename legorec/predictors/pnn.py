"""Products of user and candidate, and an MLP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from legorec.nn.dropout import Dropout
from legorec.nn.mlp import ACTIVATIONS, MLP, pair_linear
from legorec.nn.scales import dense, score
from legorec.nn.sizes import check_positive


class PNNPredictor(nn.Module):
    """A layer that sees the pair and its products, then an MLP (PNN; Qu et al., 2016).

    ``l_1 = f(W_z [u; v] + W_p p + b_1)`` is the product layer, then further layers and a linear one.
    ``inner`` (IPNN): p holds the inner products of all pairs of fields, each field with itself included:
    ``u . u``, ``u . v`` and ``v . v``. ``outer`` (OPNN): p is the matrix ``s s'`` of the fields' sum
    ``s = u + v``, the superposition of all outer products, with which the paper makes them affordable.

    Args:
        input_dim: D, width of user and item vectors.
        product: ``inner``, of all pairs of fields, or ``outer``, of their sum with itself.
        product_dim: width of the product layer.
        mlp_dims: widths of the layers after it.
        dropout, activation: after the product layer and every later one.
    Raises:
        ValueError: ``product_dim`` below 1, no layer in the MLP, or one without width.
    Legommenders has ``MLP([u; v; u . v])``: no product of a field with itself, and no outer products. The
    paper's rank-one form of the weights of IPNN would save nothing with two fields and is left out. ``outer``
    forms D * D numbers for every pair of user and item.
    """

    def __init__(
        self,
        input_dim: int,
        product: Literal["inner", "outer"] = "inner",
        product_dim: int = 128,
        mlp_dims: Sequence[int] = (128,),
        dropout: float = 0.1,
        activation: Literal["relu", "tanh", "sigmoid"] = "relu",
    ) -> None:
        super().__init__()
        check_positive(product_dim=product_dim)
        self.outer = product == "outer"
        self.linear = dense(2 * input_dim, product_dim, rectified=True)
        self.products = dense(input_dim**2 if self.outer else 3, product_dim, bias=False)
        self.behind = nn.Sequential(ACTIVATIONS[activation](), Dropout(dropout))
        self.deep = MLP(product_dim, mlp_dims, dropout, activation)
        self.score = score(self.deep.output_dim)

    def forward(self, user_BD: Tensor, candidates_BKD: Tensor) -> Tensor:
        """(B, K)"""
        linear = pair_linear(user_BD, candidates_BKD, self.linear.weight, self.linear.bias)
        products = self.products(self._products(user_BD, candidates_BKD))
        return self.score(self.deep(self.behind(linear + products))).squeeze(2)

    def _products(self, user_BD: Tensor, items_BKD: Tensor) -> Tensor:
        if self.outer:
            sums_BKD = user_BD.unsqueeze(1) + items_BKD
            return (sums_BKD.unsqueeze(3) * sums_BKD.unsqueeze(2)).flatten(2)
        both_BK = (items_BKD @ user_BD.unsqueeze(2)).squeeze(2)
        users_B1, items_BK = user_BD.square().sum(1, keepdim=True), items_BKD.square().sum(2)
        return torch.stack([users_B1.expand_as(both_BK), both_BK, items_BK], 2)
