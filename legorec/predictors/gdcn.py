"""Gated deep & cross."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from legorec.nn.cross import CrossAndDeep, GatedCross
from legorec.nn.sizes import check_positive


class GDCNPredictor(nn.Module):
    """A cross network whose layers gate what they add, and an MLP (GDCN; Wang et al., 2023).

    ``x_0 = [u; v]``, ``x_{l+1} = x_0 * (W_c x_l + b) * sigmoid(W_g x_l) + x_l``.

    Args:
        input_dim: width of user and item vectors.
        cross_layers: number of cross layers (the authors' code: 3).
        structure: ``parallel`` (GDCN-P): a linear layer over ``[x_L; MLP(x_0)]``; ``stacked`` (GDCN-S): over
            ``MLP(x_L)``.
        mlp_dims: widths of the MLP (the authors' code: 400, 400, 400; Legommenders: 1000, 1000, 1000);
            empty: only the cross network.
        dropout: after every layer of the MLP.
    Raises:
        ValueError: ``cross_layers`` below 1, or a layer of the MLP without width.
    The authors' MLP has batch norm; here there is none, so that a score never depends on the batch.
    Unlike in DCN V2, a layer can suppress what it adds, coordinate by coordinate.
    """

    def __init__(
        self,
        input_dim: int,
        cross_layers: int = 3,
        structure: Literal["parallel", "stacked"] = "parallel",
        mlp_dims: Sequence[int] = (256, 128),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_positive(cross_layers=cross_layers)
        layers = [GatedCross(input_dim) for _ in range(cross_layers)]
        self.network = CrossAndDeep(input_dim, layers, structure, mlp_dims, dropout)

    def forward(self, user_BD: Tensor, candidates_BKD: Tensor) -> Tensor:
        """(B, K)"""
        return self.network(user_BD, candidates_BKD)
