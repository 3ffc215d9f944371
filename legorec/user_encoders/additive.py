"""User encoder with additive attention alone."""

from __future__ import annotations

from torch import Tensor, nn

from legorec.nn.attention import AdditiveAttention


class AdditiveUserEncoder(nn.Module):
    """Weighted mean of clicked items, weights from a learned query; ``Ada`` of Legommenders.

    Args:
        input_dim: width of the item vectors, and of the user vectors.
        attention_dim: width of the query that weighs the clicks.
    This is the computation of ``naml``, the user encoder of that paper, under the name of the part that it is
    made of.
    """

    def __init__(self, input_dim: int, attention_dim: int = 200) -> None:
        super().__init__()
        self.output_dim = input_dim
        self.pool = AdditiveAttention(input_dim, attention_dim)

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        """(B, D) of item vectors, oldest first, and True where a click exists; an empty history is zero."""
        # A weight of zero, which is what masked places have on other devices, does not hide what is infinite.
        return self.pool(clicks_BHD, mask_BH)
