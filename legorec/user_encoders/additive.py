"""User encoder that uses only additive attention."""

from __future__ import annotations

from torch import Tensor, nn

from legorec.nn.attention import AdditiveAttention


class AdditiveUserEncoder(nn.Module):
    """Weighted mean of clicked items, with weights from a learned query; ``Ada`` of Legommenders.

    Args:
        input_dim: width of the item vectors, and of the user vectors.
        attention_dim: width of the query that weights the clicks.
    It computes the same as ``naml``, the user encoder of that paper, and is named after the part used.
    """

    def __init__(self, input_dim: int, attention_dim: int = 200) -> None:
        super().__init__()
        self.output_dim = input_dim
        self.pool = AdditiveAttention(input_dim, attention_dim)

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        """(B, D) of item vectors, oldest first, and True where a click exists; an empty history is zero."""
        # On other devices masked places get a weight of zero, which does not hide an infinite value.
        return self.pool(clicks_BHD, mask_BH)
