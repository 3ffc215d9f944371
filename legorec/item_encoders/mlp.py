"""Item encoder for items that are one given vector, such as that of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.item_encoders.single import SingleItemEncoder
from legorec.nn.mlp import MLP
from legorec.nn.scales import from_normed
from legorec.nn.sending import sent


class MLPItemEncoder(nn.Module):
    """``LayerNorm(MLP(v))`` of the item's first token vector, then a projection (CELA, arXiv
    2405.10596, the fusion of modalities).

    Args:
        input_dim: width of the source's vectors.
        mlp_dims: widths of the layers, each followed by ReLU and dropout.
        dropout: after every layer.
        hidden_dim: width of the item vectors.
    Raises:
        ValueError: no layer, or one without width.
    The paper sets the normed vector of 16 numbers beside the item's other fields; here it is projected to
    their common width, as the join of several parts wants it.
    """

    reads: ClassVar[tuple[str, ...]] = ("vector",)

    def __init__(
        self, input_dim: int, mlp_dims: Sequence[int] = (64, 16), dropout: float = 0.2, hidden_dim: int = 64
    ) -> None:
        super().__init__()
        self.output_dim = hidden_dim
        self.first = SingleItemEncoder(input_dim, input_dim)
        self.mlp = MLP(input_dim, mlp_dims, dropout)
        self.norm = nn.LayerNorm(self.mlp.output_dim)
        self.project = from_normed(self.mlp.output_dim, hidden_dim)

    def forward(self, states: TokenStates) -> Tensor:
        """(N, D); an item without a token is zero."""
        vectors_ND = self.project(self.norm(self.mlp(self.first(states))))
        present_N = states.by_item.lengths > 0
        if bool(present_N.all()):
            return vectors_ND
        (there_N1,) = sent(vectors_ND.device, present_N.unsqueeze(1))
        return torch.where(there_N1, vectors_ND, 0.0)
