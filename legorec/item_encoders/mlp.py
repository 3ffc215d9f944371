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
    """``LayerNorm(MLP(v))`` of the item's first token vector, then a projection.

    Args:
        input_dim: width of the source's vectors.
        mlp_dims: widths of the layers, each followed by ReLU and dropout.
        dropout: after every layer.
        hidden_dim: width of the item vectors.
    Raises:
        ValueError: no layer, or one without width.
    With the defaults it is what CELA (arXiv 2405.10596) makes of a text's vector. There the 16 normed numbers
    stand beside the item's other fields; here they are projected to the width that all parts have.
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
        lengths_N = states.by_item.lengths
        if lengths_N.numpy().all():
            return vectors_ND
        (present_N1,) = sent(vectors_ND.device, (lengths_N > 0).unsqueeze(1))
        return torch.where(present_N1, vectors_ND, 0.0)
