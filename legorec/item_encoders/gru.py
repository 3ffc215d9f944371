"""Recurrent item encoder."""

from __future__ import annotations

from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.nn.dropout import Dropout
from legorec.nn.recurrent import RaggedGRU
from legorec.nn.scales import dense


class GRUItemEncoder(nn.Module):
    """The state of a GRU after an item's last token, projected; ``GRU`` of Legommenders.

    The fields form one sequence, in their order.

    Args:
        input_dim: width of the token states.
        hidden_dim: width of the states and of the item vectors.
        num_layers: each layer runs over the states of the one below.
        dropout: between two layers, and on the last state.
    Raises:
        ValueError: fewer than one layer.
    Because of the projection, vectors are not limited to the states' range of -1 to 1. It has no bias, so
    that an item without a token stays zero. Unlike in ``attention``, later tokens count more, and an item
    takes as many steps as it has tokens.
    """

    def __init__(
        self, input_dim: int, hidden_dim: int = 64, num_layers: int = 1, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.output_dim = hidden_dim
        self.dropout = Dropout(dropout)
        self.tokens = RaggedGRU(input_dim, hidden_dim, num_layers, dropout)
        self.project = dense(hidden_dim, hidden_dim, bias=False)

    def forward(self, states: TokenStates) -> Tensor:
        """(N, D); an item without a token is zero."""
        _, last_ND = self.tokens.packed(states.values, states.by_item)
        return self.project(self.dropout(last_ND))
