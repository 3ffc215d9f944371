"""The news encoder of NRMS."""

from __future__ import annotations

from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.nn.attention import AdditiveAttention, MultiHeadSelfAttention
from legorec.nn.dropout import Dropout


class NRMSItemEncoder(nn.Module):
    """Self-attention over an item's tokens, then their weighted mean (NRMS; Wu et al., 2019, section 2.1).

    Args:
        input_dim: width of the token states.
        hidden_dim: width of the item vectors, that of all heads together (paper: 16 heads of 16).
        heads: of the self-attention.
        dropout: on the tokens between the two attentions, as in the authors' code.
        attention_dim: width of the query that weights the tokens (paper: 200).
    Raises:
        ValueError: ``heads`` does not divide ``hidden_dim``.
    Unlike in NAML, a token sees the whole item and not only its neighbours, and the fields form one sequence;
    the paper has only the title.
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
        self.pool = AdditiveAttention(hidden_dim, attention_dim)

    def forward(self, states: TokenStates) -> Tensor:
        """(N, D); an item without a token is zero."""
        rows = states.by_item
        return self.pool.packed(self.dropout(self.tokens.packed(states.values, rows), rows), rows)
