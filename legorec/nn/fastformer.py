"""Layers of Fastformer, whose cost grows with the length of a row and not with the square of the length."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from legorec.nn.attention import masked_softmax
from legorec.nn.rows import Rows, padded, spread, unpadded
from legorec.nn.scales import unbiased
from legorec.nn.segments import Segments
from legorec.nn.sizes import check_heads, check_positive
from legorec.nn.transformer import PostNorm


class FastAttention(nn.Module):
    """Each vector of a row joined with two summaries of the row (Fastformer; Wu et al., 2021, section 3).

    With queries, keys and values ``q_i, k_i, v_i`` and ``d`` the width of a head, in every head
    ``q = sum a_i q_i``, ``a = softmax(w_q . q_i / sqrt d)``; ``p_i = q * k_i``;
    ``k = sum b_i p_i``, ``b = softmax(w_k . p_i / sqrt d)``; ``u_i = k * v_i``. The output is
    ``W u_i + q_i``, ``W`` over all heads.

    Queries and values each have a projection, as in the equations. In their experiments the authors use one
    for both, and the same parameters in every layer; Legommenders shares the projection but not the layers.
    """

    def __init__(self, hidden_dim: int, heads: int) -> None:
        super().__init__()
        check_heads(heads, hidden_dim, "hidden_dim")
        width = hidden_dim // heads
        self.heads = heads
        self.qkv = nn.Linear(hidden_dim, 3 * hidden_dim, bias=False)
        self.weigh_queries = nn.Parameter(torch.empty(heads, width).uniform_(-(width**-0.5), width**-0.5))
        self.weigh_keys = nn.Parameter(torch.empty(heads, width).uniform_(-(width**-0.5), width**-0.5))
        self.out = unbiased(nn.Linear(hidden_dim, hidden_dim))

    def forward(self, values: Tensor, rows: Rows) -> Tensor:
        """(T, hidden_dim) or (B, L, hidden_dim), finite but without a meaning at masked places."""
        query, key, value = self.qkv(values).chunk(3, -1)
        mixed = key * spread(self._summary(query, self.weigh_queries, rows), rows)
        return self.out(value * spread(self._summary(mixed, self.weigh_keys, rows), rows)) + query

    def _summary(self, values: Tensor, weigh: Tensor, rows: Rows) -> Tensor:
        """(R, hidden_dim) weighted mean of each row, with weights of its own for each head."""
        by_head = values.unflatten(-1, (self.heads, -1))
        logits = (by_head * weigh).sum(-1) * weigh.shape[1] ** -0.5
        logits_RLH, mask_RL = padded(logits, rows)
        weights = unpadded(masked_softmax(logits_RLH, mask_RL.unsqueeze(2), 1), rows)
        weighted = (by_head * weights.unsqueeze(-1)).flatten(-2)
        if isinstance(rows, Segments):
            return rows.weighted_sum(weighted, torch.ones_like(weighted[:, 0]))
        return weighted.sum(1)


class FastformerLayer(nn.Module):
    """``FastAttention``, then what follows attention in BERT: sums, norms and dense layers with GELU.

    The paper's equations end with the attention. BERT has one more dense layer before the first sum; here the
    attention's own ``W`` takes its place.
    """

    def __init__(self, hidden_dim: int, heads: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention = FastAttention(hidden_dim, heads)
        self.behind = PostNorm(hidden_dim, ffn_dim, dropout, nn.GELU())

    def forward(self, values: Tensor, rows: Rows) -> Tensor:
        return self.behind(values, self.attention(values, rows), rows)


class Fastformer(nn.Module):
    """Fastformer layers in a row; ``ffn_factor`` is the width inside a layer divided by the width outside.

    Raises:
        ValueError: ``heads`` does not divide ``hidden_dim``; ``layers`` or ``ffn_factor`` is below 1.
    """

    def __init__(self, hidden_dim: int, layers: int, heads: int, ffn_factor: int, dropout: float) -> None:
        super().__init__()
        check_positive(layers=layers, ffn_factor=ffn_factor)
        self.layers = nn.ModuleList(
            FastformerLayer(hidden_dim, heads, ffn_factor * hidden_dim, dropout) for _ in range(layers)
        )

    def forward(self, values: Tensor, rows: Rows) -> Tensor:
        for layer in self.layers:
            values = layer(values, rows)
        return values
