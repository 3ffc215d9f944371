"""User encoder with projected self-attention."""

from __future__ import annotations

from torch import Tensor, nn

from legorec.nn.attention import AdditiveAttention, MultiHeadSelfAttention
from legorec.nn.dropout import Dropout
from legorec.nn.scales import dense
from legorec.nn.sizes import check_heads


class AttentionUserEncoder(nn.Module):
    """Clicked items attend to each other, a dense layer, then their weighted mean: ``Attention`` of
    Legommenders, after NRMS (Wu et al., 2019).

    Args:
        input_dim: width of the item vectors, and of the user vectors.
        heads: of the self-attention.
        dropout: on the clicks between the self-attention and the dense layer.
        attention_dim: width of the query that weights the clicks.
    Raises:
        ValueError: ``heads`` does not divide ``input_dim``.
    Unlike in ``nrms``, a dense layer with a bias mixes the joined heads. It replaces two linear maps in a row
    in Legommenders: the output projection of ``nn.MultiheadAttention`` and the dense layer after it. Biases
    of queries and keys are left out, and dropout is not on the attention weights.
    """

    def __init__(
        self, input_dim: int, heads: int = 8, attention_dim: int = 200, dropout: float = 0.1
    ) -> None:
        super().__init__()
        check_heads(heads, input_dim, "input_dim")
        self.output_dim = input_dim
        self.clicks = MultiHeadSelfAttention(input_dim, input_dim, heads)
        self.dropout = Dropout(dropout)
        self.project = dense(input_dim, input_dim)
        self.pool = AdditiveAttention(input_dim, attention_dim)

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        """(B, D) of item vectors, oldest first, and True where a click exists; an empty history is zero."""
        # On other devices masked places get a weight of zero, which does not hide an infinite value.
        return self.pool(self.project(self.dropout(self.clicks(clicks_BHD, mask_BH))), mask_BH)
