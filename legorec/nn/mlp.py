"""Dense layers over pairs ``[u; v]`` that do the user's half of the work once per user, not once per pair."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from legorec.nn.dropout import Dropout
from legorec.nn.scales import dense, from_normed, score

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


def join_pairs(user_BD: Tensor, items_BKD: Tensor) -> Tensor:
    """(B, K, 2D) of every user with each of its items: ``[u; v]``."""
    return torch.cat([user_BD.unsqueeze(1).expand_as(items_BKD), items_BKD], 2)


def pair_linear(user: Tensor, items_BKD: Tensor, weight_AX: Tensor, bias_A: Tensor | None = None) -> Tensor:
    """``W [u; v] + b`` of every pair, (B, K, A), as ``(W_u u + b) + W_v v``.

    Equal to ``F.linear`` of the joined pairs, which are never formed. The user's half of the product is
    computed once for all of the user's items.

    Args:
        user: (B, D), or (B, K, D) where it differs from item to item.
        weight_AX: (A, 2D), the user's columns first.
    """
    width = user.shape[-1]
    user_part = F.linear(user, weight_AX[:, :width], bias_A)
    if user.ndim == 2:
        user_part = user_part.unsqueeze(1)
    return F.linear(items_BKD, weight_AX[:, width:]) + user_part


class MLP(nn.Module):
    """Dense layers, each followed by its activation and dropout; ``output_dim`` is the width of the last.

    Args:
        dims: widths of the layers, one or more.
        activation: one of ``ACTIVATIONS``, after every layer.
        name: the caller's name for ``dims``, for the error message.
        normed: the values come from a layer norm, and the first layer makes them short.
    Raises:
        ValueError: no layer, or one without width.
    """

    def __init__(
        self,
        input_dim: int,
        dims: Sequence[int],
        dropout: float = 0.0,
        activation: str = "relu",
        name: str = "mlp_dims",
        normed: bool = False,
    ) -> None:
        super().__init__()
        if not dims or min(dims) < 1:
            raise ValueError(f"`{name}` must be one or more widths of at least 1, got {list(dims)}")
        rectified = activation == "relu"
        self.first = (
            from_normed(input_dim, dims[0]) if normed else dense(input_dim, dims[0], rectified=rectified)
        )
        layers: list[nn.Module] = [ACTIVATIONS[activation](), Dropout(dropout)]
        for width, next_width in pairwise(dims):
            layers += [dense(width, next_width, rectified=rectified)]
            layers += [ACTIVATIONS[activation](), Dropout(dropout)]
        self.rest = nn.Sequential(*layers)
        self.output_dim = dims[-1]

    def forward(self, values: Tensor) -> Tensor:
        """(..., output_dim) of (..., input_dim)"""
        return self.rest(self.first(values))

    def pairs(self, user: Tensor, items_BKD: Tensor) -> Tensor:
        """(B, K, output_dim) of every pair, ``input_dim`` being 2D; ``user`` as in :func:`pair_linear`."""
        return self.rest(pair_linear(user, items_BKD, self.first.weight, self.first.bias))


class PairScore(nn.Module):
    """``w . MLP([u; v]) + b``, one number per pair; the arguments are those of :class:`MLP`."""

    def __init__(
        self,
        input_dim: int,
        mlp_dims: Sequence[int],
        dropout: float,
        activation: str = "relu",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.mlp = MLP(2 * input_dim, mlp_dims, dropout, activation)
        self.score = score(self.mlp.output_dim, bias)

    def forward(self, user_BD: Tensor, items_BKD: Tensor) -> Tensor:
        """(B, K)"""
        return self.score(self.mlp.pairs(user_BD, items_BKD)).squeeze(2)
