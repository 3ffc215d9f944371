"""The user encoder of SASRec."""

from __future__ import annotations

from torch import Tensor, nn

from legorec.nn.attention import MultiHeadSelfAttention
from legorec.nn.dropout import Dropout
from legorec.nn.rows import Rows, last, recency, rows_of
from legorec.nn.scales import LENGTH
from legorec.nn.sequence import Positions
from legorec.nn.sizes import check_heads, check_positive
from legorec.nn.transformer import attend


class SASRecUserEncoder(nn.Module):
    """State of the last click after causal self-attention over the clicks (SASRec; Kang & McAuley, 2018).

    Each half of a block is ``x + dropout(half(norm(x)))`` (section III). Clicks get a learned vector for
    their place, counted from the latest; the paper pads at the start, which gives the same table in reverse.

    Args:
        input_dim: width of the item vectors, of the blocks and of the user vectors.
        max_history: how many places there are; older clicks share the last one.
        layers: blocks (paper: 2).
        heads: of the attention (paper: 1); as in the paper, no projection follows them.
        dropout: on the clicks before the blocks and on what each half of a block adds (paper: 0.2 to 0.5).
    Raises:
        ValueError: ``heads`` does not divide ``input_dim``, or ``layers`` is below 1.
    One more norm follows the last block, as in the authors' code. That code normalises only the queries
    before the attention; here, as in the paper, the whole input is normalised.
    """

    def __init__(
        self, input_dim: int, max_history: int, layers: int = 2, heads: int = 1, dropout: float = 0.2
    ) -> None:
        super().__init__()
        check_heads(heads, input_dim, "input_dim")
        check_positive(layers=layers)
        self.output_dim = input_dim
        self.positions = Positions(max_history, input_dim)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(Block(input_dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(input_dim)
        nn.init.constant_(
            self.norm.weight, LENGTH * input_dim**-0.5
        )  # a norm's own start is a length of sqrt(D)

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        """(B, D) of item vectors, oldest first, and True where a click exists; an empty history is zero."""
        return self._encode(*rows_of(clicks_BHD, mask_BH))

    def _encode(self, clicks: Tensor, rows: Rows) -> Tensor:
        """(B, D) from packed or padded clicks."""
        states = self.dropout(clicks + self.positions(recency(rows, clicks.device)), rows)
        for block in self.blocks:
            states = block(states, rows)
        # A norm turns a row of zeros into its bias, so it comes before the step that makes zeros.
        return last(self.norm(states), rows)


class Block(nn.Module):
    """Causal self-attention and two dense layers of the same width, each half after a norm."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = MultiHeadSelfAttention(dim, dim, heads, causal=True)
        self.dense_norm = nn.LayerNorm(dim)
        self.dense = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.dropout = Dropout(dropout)

    def forward(self, states: Tensor, rows: Rows) -> Tensor:
        states = states + self.dropout(attend(self.attention, self.attention_norm(states), rows), rows)
        return states + self.dropout(self.dense(self.dense_norm(states)), rows)
