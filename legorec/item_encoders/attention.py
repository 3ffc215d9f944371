"""Item encoder with projected self-attention."""

from __future__ import annotations

from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.nn.attention import AdditiveAttention, MultiHeadSelfAttention
from legorec.nn.dropout import Dropout
from legorec.nn.scales import dense


class AttentionItemEncoder(nn.Module):
    """Self-attention over an item's tokens, a dense layer, then their weighted mean: ``Attention`` of
    Legommenders, after NRMS (Wu et al., 2019).

    Args:
        input_dim: width of the token states.
        hidden_dim: width of the item vectors, that of all heads together.
        heads: of the self-attention.
        dropout: on the tokens between the self-attention and the dense layer.
        attention_dim: width of the query that weights the tokens.
    Raises:
        ValueError: ``heads`` does not divide ``hidden_dim``.
    Unlike in ``nrms``, a dense layer with a bias mixes the joined heads. Legommenders has
    ``nn.MultiheadAttention`` followed by a dense layer. Its output projection and the dense layer are two
    linear maps in a row and are one layer here, whose bias also covers that of the values; a bias of the keys
    would cancel in the softmax; the bias of the queries is left out. Its heads together are ``input_dim``
    wide, and its dropout is on the attention weights.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int = 64,
        heads: int = 8,
        dropout: float = 0.1,
        attention_dim: int = 200,
    ) -> None:
        super().__init__()
        self.output_dim = hidden_dim
        self.tokens = MultiHeadSelfAttention(input_dim, hidden_dim, heads)
        self.dropout = Dropout(dropout)
        self.project = dense(hidden_dim, hidden_dim)
        self.pool = AdditiveAttention(hidden_dim, attention_dim)

    def forward(self, states: TokenStates) -> Tensor:
        """(N, D); an item without a token is zero."""
        rows = states.by_item
        values_TD = self.dropout(self.tokens.packed(states.values, rows), rows)
        return self.pool.packed(self.project(values_TD), rows)
