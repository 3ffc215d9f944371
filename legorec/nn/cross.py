"""Cross networks: every layer multiplies the output of the one before by the pair ``x_0 = [u; v]``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from legorec.nn.mlp import MLP, PairScore, join_pairs, pair_linear
from legorec.nn.scales import score, unbiased
from legorec.nn.sizes import check_positive

Product = Callable[[Tensor, Tensor | None], Tensor]


class VectorCross(nn.Module):
    """The cross network of DCN, then a linear layer: one number per pair (Wang et al., 2017).

    ``x_{l+1} = x_0 (x_l . w_l) + b_l + x_l`` (section 2.2), then ``r . x_L + c``. Every ``x_l`` is
    ``a_l x_0 + d_l``, where the number ``a_l`` depends on the pair and the vector ``d_l``, the sum of the
    biases so far, is the same for all pairs. So a pair's products with the ``w_l`` and with ``r`` suffice,
    and neither ``[u; v]`` nor any ``x_l`` is formed.
    """

    def __init__(self, input_dim: int, cross_layers: int) -> None:
        super().__init__()
        check_positive(cross_layers=cross_layers)
        bound = (2 * input_dim) ** -0.5
        self.weight = nn.Parameter(torch.empty(cross_layers, 2 * input_dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(cross_layers, 2 * input_dim))
        self.score = score(2 * input_dim)

    def forward(self, user_BD: Tensor, items_BKD: Tensor) -> Tensor:
        """(B, K)"""
        rows = torch.cat([self.weight, self.score.weight])
        products_BKR = pair_linear(user_BD, items_BKD, rows)
        # Only the matrix product runs in half precision: the recursion costs next to nothing.
        products = products_BKR.to(torch.promote_types(products_BKR.dtype, torch.float32)).unbind(2)
        scale, shift = torch.ones_like(products[0]), torch.zeros_like(self.bias[0])
        for product, weight, bias in zip(products, self.weight, self.bias, strict=False):
            scale = scale + scale * product + (shift * weight).sum()
            shift = shift + bias
        return scale * products[-1] + (shift * self.score.weight).sum() + self.score.bias


class MatrixCross(nn.Module):
    """The factor of ``x_0`` in a layer of DCN V2: ``W x + b`` (Wang et al., 2021)."""

    def __init__(self, input_dim: int) -> None:
        super().__init__()
        self.linear = unbiased(nn.Linear(2 * input_dim, 2 * input_dim))

    def forward(self, product: Product) -> Tensor:
        """(B, K, 2D), where ``product(W, b)`` is ``W x + b``."""
        return product(self.linear.weight, self.linear.bias)


class GatedCross(nn.Module):
    """The factor of ``x_0`` in a layer of GDCN: ``(W_c x + b) * sigmoid(W_g x)`` (Wang et al., 2023)."""

    def __init__(self, input_dim: int) -> None:
        super().__init__()
        self.linear = unbiased(nn.Linear(2 * input_dim, 2 * input_dim))
        self.gate = nn.Linear(2 * input_dim, 2 * input_dim, bias=False)

    def forward(self, product: Product) -> Tensor:
        """(B, K, 2D), where ``product(W, b)`` is ``W x + b``."""
        gate = torch.sigmoid(product(self.gate.weight, None))
        return product(self.linear.weight, self.linear.bias) * gate


class MixtureCross(nn.Module):
    """The factor of ``x_0`` in a layer of DCN-Mix: gated low-rank experts (Wang et al., 2021).

    ``sum_i G_i(x) (U_i tanh(C_i tanh(V_i' x)) + b)``: the experts share the layer's bias, and ``G`` is the
    softmax or the sigmoid of a linear map. The gates are applied before ``U``, so that the experts' outputs,
    (B, K, 2D) each, are never formed separately. A single expert has no gate.
    """

    def __init__(self, input_dim: int, experts: int, rank: int, gate: Literal["softmax", "sigmoid"]) -> None:
        super().__init__()
        check_positive(experts=experts, rank=rank)
        self.down = nn.Linear(2 * input_dim, experts * rank, bias=False)
        bound = rank**-0.5
        self.mix = nn.Parameter(torch.empty(experts, rank, rank).uniform_(-bound, bound))
        self.up = nn.Linear(experts * rank, 2 * input_dim, bias=False)
        self.bias = nn.Parameter(torch.zeros(2 * input_dim))
        self.gate = nn.Linear(2 * input_dim, experts, bias=False) if experts > 1 else None
        self.shares_one = gate == "softmax"

    def forward(self, product: Product) -> Tensor:
        """(B, K, 2D), where ``product(W, b)`` is ``W x + b``."""
        low = torch.tanh(product(self.down.weight, None)).unflatten(2, self.mix.shape[:2])
        low = torch.tanh(torch.einsum("bker,ers->bkes", low, self.mix))
        if self.gate is None:
            return self.up(low.flatten(2)) + self.bias
        logits_BKM = product(self.gate.weight, None)
        gates_BKM = logits_BKM.softmax(2) if self.shares_one else logits_BKM.sigmoid()
        mixed = self.up((low * gates_BKM.unsqueeze(3)).flatten(2))
        return mixed + gates_BKM.sum(2, keepdim=True) * self.bias


class CrossNetwork(nn.Module):
    """``x_{l+1} = x_0 * layer(x_l) + x_l``.

    Args:
        layers: some of ``MatrixCross``, ``GatedCross``, ``MixtureCross``, each with its own weights.
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, user_BD: Tensor, items_BKD: Tensor) -> Tensor:
        """(B, K, 2D). The first layer, where x is the pair itself, computes the user's half once per user."""
        pair = join_pairs(user_BD, items_BKD)
        product: Product = partial(pair_linear, user_BD, items_BKD)
        values = pair
        for layer in self.layers:
            values = pair * layer(product) + values
            product = partial(F.linear, values)
        return values


class CrossAndDeep(nn.Module):
    """A cross network and an MLP, side by side or one after the other, reduced to one number per pair.

    Args:
        structure: ``parallel``: a linear layer over the outputs of both; ``stacked``: the MLP takes the
            output of the cross network.
        mlp_dims: widths of the MLP; empty: only the cross network, in either structure.
    """

    def __init__(
        self,
        input_dim: int,
        layers: Iterable[nn.Module],
        structure: Literal["parallel", "stacked"],
        mlp_dims: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.cross = CrossNetwork(layers)
        # A linear layer over joined vectors is the sum of one linear layer over each.
        self.beside = self.behind = None
        if mlp_dims and structure == "parallel":
            self.beside = PairScore(input_dim, mlp_dims, dropout, bias=False)
        elif mlp_dims:
            self.behind = MLP(2 * input_dim, mlp_dims, dropout)
        self.score = score(2 * input_dim if self.behind is None else self.behind.output_dim)

    def forward(self, user_BD: Tensor, items_BKD: Tensor) -> Tensor:
        """(B, K)"""
        values = self.cross(user_BD, items_BKD)
        if self.behind is not None:
            values = self.behind(values)
        scores = self.score(values).squeeze(2)
        return scores if self.beside is None else scores + self.beside(user_BD, items_BKD)
