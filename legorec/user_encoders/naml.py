"""The user encoder of NAML."""

from __future__ import annotations

from torch import Tensor, nn

from legorec.nn.attention import AdditiveAttention


class NAMLUserEncoder(nn.Module):
    """Weighted mean of clicked items, with weights from a query (NAML; Wu et al., 2019, section 3.2).

    Args:
        input_dim: width of the item vectors, and of the user vectors.
        attention_dim: width of the learned query that weights the clicks (paper: 200).
    Unlike in NRMS, clicks do not see each other.
    """

    def __init__(self, input_dim: int, attention_dim: int = 200) -> None:
        super().__init__()
        self.output_dim = input_dim
        self.pool = AdditiveAttention(input_dim, attention_dim)

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        """(B, D) of item vectors, oldest first, and True where a click exists; an empty history is zero."""
        return self.pool(clicks_BHD, mask_BH)
