"""Deep & Cross, version 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from legorec.nn.cross import CrossAndDeep, MatrixCross, MixtureCross
from legorec.nn.sizes import check_positive


class DCNv2Predictor(nn.Module):
    """A cross network with matrices, and an MLP (DCN V2; Wang et al., 2021).

    ``x_0 = [u; v]``, ``x_{l+1} = x_0 * (W_l x_l + b_l) + x_l``. With ``mixture`` a layer is DCN-Mix:
    ``sum_i G_i(x_l) x_0 * (U_i tanh(C_i tanh(V_i' x_l)) + b_l) + x_l``.

    Args:
        input_dim: width of user and item vectors.
        cross_layers: number of cross layers (Legommenders: 3).
        structure: ``parallel``: a linear layer over ``[x_L; MLP(x_0)]``; ``stacked``: over ``MLP(x_L)``.
        mixture: low-rank experts instead of one matrix.
        experts, rank: of the mixture (Legommenders: 4 of rank 32). A single expert has no gate.
        gate: of the mixture; experts share one weight (``softmax``) or each has its own (``sigmoid``).
        mlp_dims: widths of the MLP (Legommenders: 1000, 1000, 1000); empty: only the cross network.
        dropout: after every layer of the MLP.
    Raises:
        ValueError: ``cross_layers``, ``experts`` or ``rank`` below 1, or a layer of the MLP without width.
    In Legommenders' ``parallel`` the MLP takes the output of the cross network; here the two are side by
    side. There is no batch norm.
    """

    def __init__(
        self,
        input_dim: int,
        cross_layers: int = 3,
        structure: Literal["parallel", "stacked"] = "parallel",
        mixture: bool = False,
        experts: int = 4,
        rank: int = 32,
        gate: Literal["softmax", "sigmoid"] = "softmax",
        mlp_dims: Sequence[int] = (256, 128),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_positive(cross_layers=cross_layers)
        layers: list[nn.Module] = [
            MixtureCross(input_dim, experts, rank, gate) if mixture else MatrixCross(input_dim)
            for _ in range(cross_layers)
        ]
        self.network = CrossAndDeep(input_dim, layers, structure, mlp_dims, dropout)

    def forward(self, user_BD: Tensor, candidates_BKD: Tensor) -> Tensor:
        """(B, K)"""
        return self.network(user_BD, candidates_BKD)
