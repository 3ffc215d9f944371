"""Recurrent user encoder."""

from __future__ import annotations

from torch import Tensor, nn

from legorec.nn.dropout import Dropout
from legorec.nn.recurrent import RaggedGRU
from legorec.nn.scales import dense


class GRUUserEncoder(nn.Module):
    """The state of a GRU after the last click (GRU4Rec; Hidasi et al., 2016).

    Args:
        input_dim: width of the item vectors, and of the user vectors.
        hidden_dim: width of the states. Where it differs from ``input_dim``, a projection without a bias
            follows. None: ``input_dim``.
        num_layers: each layer runs over the states of the one below.
        dropout: between two layers, and on the last state.
    Raises:
        ValueError: fewer than one layer.
    The paper learns one input and one output vector for each item id; here the item encoder's vectors serve
    as both. The paper's loss ranks against the other items of a batch at every step; here the loss is that of
    the recommender.
    """

    def __init__(
        self, input_dim: int, hidden_dim: int | None = None, num_layers: int = 1, dropout: float = 0.1
    ) -> None:
        super().__init__()
        hidden_dim = input_dim if hidden_dim is None else hidden_dim
        self.output_dim = input_dim
        self.dropout = Dropout(dropout)
        self.clicks = RaggedGRU(input_dim, hidden_dim, num_layers, dropout)
        self.project = nn.Identity() if hidden_dim == input_dim else dense(hidden_dim, input_dim, bias=False)

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        """(B, D) of item vectors, oldest first, and True where a click exists; an empty history is zero."""
        _, last_BS = self.clicks(clicks_BHD, mask_BH)
        return self.project(self.dropout(last_BS))
