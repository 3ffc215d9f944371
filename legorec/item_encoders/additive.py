"""Item encoder that uses only additive attention."""

from __future__ import annotations

from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.nn.attention import AdditiveAttention
from legorec.nn.scales import dense


class AdditiveItemEncoder(nn.Module):
    """Weighted mean of an item's tokens, all fields together, with weights from a learned query: ``Ada`` of
    Legommenders.

    Args:
        input_dim: width of the token states.
        hidden_dim: width of the item vectors. Where it differs from ``input_dim``, a projection follows,
            without a bias, so that an item without a token stays zero.
        attention_dim: width of the query that weights the tokens.
    Unlike in ``nrms``, tokens do not see each other; unlike in ``cnn``, not even their neighbours.
    """

    def __init__(self, input_dim: int, hidden_dim: int = 64, attention_dim: int = 200) -> None:
        super().__init__()
        self.output_dim = hidden_dim
        self.pool = AdditiveAttention(input_dim, attention_dim)
        self.project = nn.Identity() if input_dim == hidden_dim else dense(input_dim, hidden_dim, bias=False)

    def forward(self, states: TokenStates) -> Tensor:
        """(N, D); an item without a token is zero."""
        return self.project(self.pool.packed(states.values, states.by_item))
