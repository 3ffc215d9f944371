"""Two MLPs, each with its own view of the pair."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from legorec.nn.mlp import MLP
from legorec.nn.scales import dense, score
from legorec.nn.sizes import check_positive


class FinalMLPPredictor(nn.Module):
    """Two MLPs over gated pairs, joined by a bilinear form in several heads (FinalMLP; Mao et al., 2023).

    Stream-specific feature selection: ``h_1 = 2 sigmoid(G_1(u)) * [u; v]`` and
    ``h_2 = 2 sigmoid(G_2(v)) * [u; v]`` with two-layer gates ``G``: the user gates one stream, the item the
    other. Then ``o_i = MLP_i(h_i)``, and the score is ``b + w_1 . o_1 + w_2 . o_2 + sum_j o_1j' W_j o_2j``,
    where j runs over the heads, equal slices of both outputs.

    Args:
        input_dim: width of user and item vectors.
        mlp1_dims: widths of the MLP gated by the user (Legommenders: 1000, 1000, 1000).
        mlp2_dims: widths of the MLP gated by the item.
        heads: number of slices of each output.
        feature_selection: use the gates; otherwise both MLPs see ``[u; v]`` itself, as in Legommenders.
        gate_dim: width of the hidden layer of a gate.
        dropout: after every layer of the MLPs.
    Raises:
        ValueError: ``heads`` does not divide the last of ``mlp1_dims`` and of ``mlp2_dims``, ``gate_dim``
            below 1, no layer in an MLP, or one without width.
    The authors' code can put batch norm into the MLPs; here there is none.
    """

    def __init__(
        self,
        input_dim: int,
        mlp1_dims: Sequence[int] = (256, 128),
        mlp2_dims: Sequence[int] = (256, 128),
        heads: int = 4,
        feature_selection: bool = True,
        gate_dim: int = 64,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_positive(gate_dim=gate_dim)
        self.mlp1 = MLP(2 * input_dim, mlp1_dims, dropout, name="mlp1_dims")
        self.mlp2 = MLP(2 * input_dim, mlp2_dims, dropout, name="mlp2_dims")
        width1, width2 = self.mlp1.output_dim, self.mlp2.output_dim
        if heads < 1 or width1 % heads or width2 % heads:
            raise ValueError(
                f"`heads` must divide the last of `mlp1_dims` ({width1}) and of `mlp2_dims` ({width2}), "
                f"got {heads}"
            )
        gates = (_gate(input_dim, gate_dim) for _ in range(2))
        self.gates = nn.ModuleList(gates) if feature_selection else None
        self.linear1 = score(width1)
        self.linear2 = score(width2, bias=False)
        self.bilinear = nn.Parameter(torch.empty(heads, width1 // heads, width2 // heads))
        for form in self.bilinear.detach():
            nn.init.xavier_uniform_(form)

    def forward(self, user_BD: Tensor, candidates_BKD: Tensor) -> Tensor:
        """(B, K)"""
        if self.gates is None:
            one = self.mlp1.pairs(user_BD, candidates_BKD)
            other = self.mlp2.pairs(user_BD, candidates_BKD)
        else:
            of_user, of_item = (2.0 * self.gates[0](user_BD)).chunk(2, 1)
            one = self.mlp1.pairs(of_user * user_BD, of_item.unsqueeze(1) * candidates_BKD)
            of_user, of_item = (2.0 * self.gates[1](candidates_BKD)).chunk(2, 2)
            other = self.mlp2.pairs(of_user * user_BD.unsqueeze(1), of_item * candidates_BKD)
        linear = (self.linear1(one) + self.linear2(other)).squeeze(2)
        return linear + self._bilinear(one, other)

    def _bilinear(self, one_BKX: Tensor, other_BKX: Tensor) -> Tensor:
        heads = len(self.bilinear)
        one = torch.einsum("bkhx,hxy->bkhy", one_BKX.unflatten(2, (heads, -1)), self.bilinear)
        return (one.flatten(2) * other_BKX).sum(2)


def _gate(input_dim: int, gate_dim: int) -> nn.Module:
    return nn.Sequential(
        dense(input_dim, gate_dim, rectified=True), nn.ReLU(), dense(gate_dim, 2 * input_dim), nn.Sigmoid()
    )
