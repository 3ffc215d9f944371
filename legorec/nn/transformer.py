"""Layers of the transformer over packed rows, whose dense layers and norms never see padding."""

from __future__ import annotations

from torch import Tensor, nn

from legorec.nn.attention import MultiHeadSelfAttention
from legorec.nn.dropout import Dropout
from legorec.nn.rows import Rows
from legorec.nn.scales import unbiased
from legorec.nn.segments import Segments
from legorec.nn.sizes import check_positive


def attend(attention: MultiHeadSelfAttention, values: Tensor, rows: Rows) -> Tensor:
    """Self-attention of packed rows, or of padded ones, where the result at masked places has no meaning."""
    return attention.packed(values, rows) if isinstance(rows, Segments) else attention.padded(values, rows)


class PostNorm(nn.Module):
    """The rest of a transformer layer, after the vectors of a row have been mixed.

    ``x = norm(x + mixed)``, then ``norm(x + dense(activation(dense(x))))``, with dropout on what is added
    (Vaswani et al., 2017, sections 3.1, 3.3 and 5.4). The norm comes after each sum, as in the paper and in
    BERT; later models put it before the mixing and the dense layers.
    """

    def __init__(self, hidden_dim: int, ffn_dim: int, dropout: float, activation: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_dim)
        self.inner = unbiased(nn.Linear(hidden_dim, ffn_dim))
        self.activation = activation
        self.outer = unbiased(nn.Linear(ffn_dim, hidden_dim))
        self.outer_norm = nn.LayerNorm(hidden_dim)
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor, mixed: Tensor, rows: Rows | None = None) -> Tensor:
        """(..., hidden_dim) from the input of the mixing and its output; ``rows`` where they are packed."""
        values = self.norm(values + self.dropout(mixed, rows))
        return self.outer_norm(values + self.dropout(self.outer(self.activation(self.inner(values))), rows))


class TransformerLayer(nn.Module):
    """Self-attention, then a dense layer on each vector (Vaswani et al., 2017, section 3.1).

    Row by row it equals ``nn.TransformerEncoderLayer`` with ReLU, the norm after the sum, and zero attention
    biases. Dropout is on the output of both halves, as in the paper; torch also has it on the attention
    weights and inside the dense half.
    """

    def __init__(self, hidden_dim: int, heads: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadSelfAttention(hidden_dim, hidden_dim, heads)
        self.out = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.behind = PostNorm(hidden_dim, ffn_dim, dropout, nn.ReLU())

    def forward(self, values: Tensor, rows: Rows) -> Tensor:
        return self.behind(values, self.out(attend(self.attention, values, rows)), rows)


class Transformer(nn.Module):
    """Transformer layers in a row; ``ffn_factor`` is the width inside a layer divided by the width outside.

    Raises:
        ValueError: ``heads`` does not divide ``hidden_dim``; ``layers`` or ``ffn_factor`` is below 1.
    """

    def __init__(self, hidden_dim: int, layers: int, heads: int, ffn_factor: int, dropout: float) -> None:
        super().__init__()
        check_positive(layers=layers, ffn_factor=ffn_factor)
        self.layers = nn.ModuleList(
            TransformerLayer(hidden_dim, heads, ffn_factor * hidden_dim, dropout) for _ in range(layers)
        )

    def forward(self, values: Tensor, rows: Rows) -> Tensor:
        for layer in self.layers:
            values = layer(values, rows)
        return values
