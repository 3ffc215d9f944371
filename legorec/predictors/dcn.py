"""Deep & Cross."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from legorec.nn.cross import VectorCross
from legorec.nn.mlp import PairScore


class DCNPredictor(nn.Module):
    """A cross network beside an MLP, joined by a linear layer (DCN; Wang et al., 2017).

    ``x_0 = [u; v]``, ``x_{l+1} = x_0 (x_l . w_l) + b_l + x_l`` (section 2.2), ``h = MLP(x_0)``; the score is
    linear in ``[x_L; h]``.

    Args:
        input_dim: width of user and item vectors.
        cross_layers: L (Legommenders: 3).
        mlp_dims: widths of the MLP (Legommenders: 1000, 1000, 1000); empty: only the cross network.
        dropout: after every layer of the MLP.
    Raises:
        ValueError: ``cross_layers`` below 1, or a layer of the MLP without width.
    The paper has batch norm in the MLP; here there is none, so that a score never depends on the batch.
    Unlike in DCN V2, a layer uses only one number of ``x_l``, its product with ``w_l``.
    """

    def __init__(
        self,
        input_dim: int,
        cross_layers: int = 3,
        mlp_dims: Sequence[int] = (256, 128),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.cross = VectorCross(input_dim, cross_layers)
        self.deep = PairScore(input_dim, mlp_dims, dropout, bias=False) if mlp_dims else None

    def forward(self, user_BD: Tensor, candidates_BKD: Tensor) -> Tensor:
        """(B, K)"""
        scores = self.cross(user_BD, candidates_BKD)
        return scores if self.deep is None else scores + self.deep(user_BD, candidates_BKD)
