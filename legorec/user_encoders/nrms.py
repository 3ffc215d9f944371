"""The user encoder of NRMS."""

from __future__ import annotations

from torch import Tensor, nn

from legorec.nn.attention import AdditiveAttention, MultiHeadSelfAttention
from legorec.nn.dropout import Dropout
from legorec.nn.sizes import check_heads


class NRMSUserEncoder(nn.Module):
    """Clicked items attend to each other, then their weighted mean (NRMS; Wu et al., 2019, section 2.2).

    Args:
        input_dim: width of the item vectors, and of the user vectors.
        heads: of the self-attention (paper: 16).
        dropout: on the clicks between the two attentions, as in the authors' code.
        attention_dim: width of the query that weights the clicks (paper: 200).
    Raises:
        ValueError: ``heads`` does not divide ``input_dim``.
    """

    def __init__(
        self, input_dim: int, heads: int = 8, attention_dim: int = 200, dropout: float = 0.1
    ) -> None:
        super().__init__()
        check_heads(heads, input_dim, "input_dim")
        self.output_dim = input_dim
        self.clicks = MultiHeadSelfAttention(input_dim, input_dim, heads)
        self.dropout = Dropout(dropout)
        self.pool = AdditiveAttention(input_dim, attention_dim)

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        """(B, D) of item vectors, oldest first, and True where a click exists; an empty history is zero."""
        return self.pool(self.dropout(self.clicks(clicks_BHD, mask_BH)), mask_BH)
