"""Clicked items through transformer layers."""

from __future__ import annotations

from torch import Tensor, nn

from legorec.nn.rows import rows_of
from legorec.nn.sequence import ClickSequence
from legorec.nn.sizes import check_heads
from legorec.nn.transformer import Transformer


class TransformerUserEncoder(nn.Module):
    """Transformer layers over clicked items, then their weighted mean (Vaswani et al., 2017, section 3).

    A click gets a learned vector for its place. Places are counted from the latest click, so that neither
    padding nor clicks that were cut off shift them. Norms come after the sums; the dense layers have ReLU.

    Args:
        input_dim: width of the item vectors, of the layers and of the user vectors.
        max_history: how many places there are; older clicks share the last one.
        layers: how many layers (paper: 6).
        heads: of the attention in each layer (paper: 8).
        ffn_factor: width inside the dense half of a layer, as a multiple of ``input_dim`` (paper: 4).
        dropout: on the clicks before the layers and on what each half of a layer adds.
        attention_dim: width of the query that weights the clicks.
    Raises:
        ValueError: ``heads`` does not divide ``input_dim``, or a count is below 1.
    Unlike in SASRec, a click also sees those after it, and the user vector is a mean of all of them.
    """

    def __init__(
        self,
        input_dim: int,
        max_history: int,
        layers: int = 3,
        heads: int = 8,
        ffn_factor: int = 4,
        dropout: float = 0.1,
        attention_dim: int = 200,
    ) -> None:
        super().__init__()
        check_heads(heads, input_dim, "input_dim")
        self.output_dim = input_dim
        self.clicks = ClickSequence(
            input_dim,
            Transformer(input_dim, layers, heads, ffn_factor, dropout),
            max_history,
            dropout,
            attention_dim,
        )

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        """(B, D) of item vectors, oldest first, and True where a click exists; an empty history is zero."""
        return self.clicks(*rows_of(clicks_BHD, mask_BH))
