"""Layers of the transformer over packed rows: dense layers and norms never see padding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from legorec.nn.attention import HALF
from legorec.nn.dropout import Dropout
from legorec.nn.fused import PermuteRows
from legorec.nn.grouped import Group, GroupedAttention, plan
from legorec.nn.rows import Rows
from legorec.nn.segments import Segments
from legorec.nn.sizes import check_heads, check_positive

# On the CPU, attention that keeps its weights for the backward pass is the faster one over short rows; over
# longer ones its memory, which grows with the square, is what counts.
LONG = 256


class SelfAttention(nn.Module):
    """Scaled dot-product attention of a row's vectors to each other, head by head, the heads joined.

    Multi-head attention (Vaswani et al., 2017, section 3.2.2) without the projection behind the heads; as in
    the paper, projections have no biases. ``causal``: a vector sees itself and those before it.
    """

    def __init__(self, hidden_dim: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        check_heads(heads, hidden_dim, "hidden_dim")
        self.heads = heads
        self.hidden_dim = hidden_dim
        self.causal = causal
        self.qkv = nn.Linear(hidden_dim, 3 * hidden_dim, bias=False)
        for part in self.qkv.weight.detach().split(hidden_dim):
            nn.init.xavier_uniform_(part)

    def forward(self, values: Tensor, rows: Rows) -> Tensor:
        """(T, hidden_dim) or (B, L, hidden_dim), where what comes out at masked places is finite, no more."""
        if not isinstance(rows, Segments):
            return self._padded(self.qkv(values), rows)
        if values.device.type != "cpu":
            padded, mask_RL = rows.pad(self.qkv(values))
            return rows.unpad(self._padded(padded, mask_RL))
        wide = torch.float32 if values.dtype in HALF else values.dtype
        grouped = plan(rows.lengths.numpy(), self.heads, wide)
        qkv_SX = self.qkv(PermuteRows.apply(values, grouped.spread, grouped.places))
        with torch.autocast("cpu", enabled=False):
            if self.causal or rows.max_length > LONG:
                out_SD = self._group_by_group(qkv_SX.to(wide), grouped.groups)
            else:
                out_SD = GroupedAttention.apply(qkv_SX.to(wide), grouped.groups, self.heads)
        return out_SD.index_select(0, grouped.places).to(qkv_SX.dtype)

    def _padded(self, qkv_BLX: Tensor, mask_BL: Tensor) -> Tensor:
        B, L, _ = qkv_BLX.shape
        query, key, value = qkv_BLX.view(B, L, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        # Padding stands behind what is real, where causal attention does not look. A row without any True
        # place looks everywhere: some kernels give NaN when there is nothing to look at.
        seen = None if self.causal else (mask_BL | ~mask_BL.any(1, keepdim=True))[:, None, None, :]
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=seen, is_causal=self.causal)
        return out.transpose(1, 2).reshape(B, L, self.hidden_dim)

    def _group_by_group(self, qkv_SX: Tensor, groups: list[Group]) -> Tensor:
        parts = [qkv_SX[:0, : self.hidden_dim]]
        sizes = [group.rows * group.length for group in groups]
        for part, group in zip(qkv_SX.split(sizes) if sizes else (), groups, strict=True):
            shape = (group.rows, group.length, 3, self.heads, -1)
            query, key, value = part.view(shape).permute(2, 0, 3, 1, 4)
            bias = None if self.causal or group.bias is None else group.bias[:, None, None, :]
            out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, is_causal=self.causal)
            parts.append(out.transpose(1, 2).reshape(-1, self.hidden_dim))
        return torch.cat(parts)


class PostNorm(nn.Module):
    """What stands behind a mixing of a row's vectors in a transformer layer.

    ``x = norm(x + mixed)``, then ``norm(x + dense(activation(dense(x))))``, with dropout on what is added
    (Vaswani et al., 2017, sections 3.1, 3.3 and 5.4). The norm comes behind each sum, as in the paper and in
    BERT; later models put it in front.
    """

    def __init__(self, hidden_dim: int, ffn_dim: int, dropout: float, activation: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_dim)
        self.inner = nn.Linear(hidden_dim, ffn_dim)
        self.activation = activation
        self.outer = nn.Linear(ffn_dim, hidden_dim)
        self.outer_norm = nn.LayerNorm(hidden_dim)
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor, mixed: Tensor) -> Tensor:
        """(..., hidden_dim) of what went into the mixing and what came out."""
        values = self.norm(values + self.dropout(mixed))
        return self.outer_norm(values + self.dropout(self.outer(self.activation(self.inner(values)))))


class TransformerLayer(nn.Module):
    """Self-attention, then a dense layer on each vector (Vaswani et al., 2017, section 3.1).

    Row by row ``nn.TransformerEncoderLayer`` with ReLU and the norm behind the sum, its attention biases
    zero. Dropout is the paper's, on the output of both halves; torch also drops attention weights and inside
    the dense half.
    """

    def __init__(self, hidden_dim: int, heads: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(hidden_dim, heads)
        self.out = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.behind = PostNorm(hidden_dim, ffn_dim, dropout, nn.ReLU())

    def forward(self, values: Tensor, rows: Rows) -> Tensor:
        return self.behind(values, self.out(self.attention(values, rows)))


class Transformer(nn.Module):
    """Transformer layers one behind the other; ``ffn_factor`` is the width inside a layer by that outside.

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
