"""Attention that never looks at padding, over padded rows and over packed ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from legorec.nn.fused import AdditiveLogits, PermuteRows
from legorec.nn.graphs import is_taken, packs
from legorec.nn.grouped import Group, GroupedAttention, plan
from legorec.nn.segments import Segments, pack, unpack
from legorec.nn.sizes import check_heads

HALF = (torch.float16, torch.bfloat16)
# On the CPU, attention that keeps its weights for the backward pass is faster over short rows. Over longer
# rows its memory matters more: it grows with the square of the length.
LONG = 256


def where_true(values_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """The values, with zeros where the mask is False: a value there may be infinite, and 0 * inf is not 0."""
    return values_BLD.masked_fill(~mask_BL.unsqueeze(2), 0.0)


def masked_softmax(logits: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Softmax over the places where the mask is True, exactly zero elsewhere; in at least float32.

    A row with no True place is all zeros, and so are its gradients; a plain softmax would give NaN.
    """
    if logits.dtype in HALF:
        logits = logits.float()
    weights = logits.masked_fill(~mask, torch.finfo(logits.dtype).min).softmax(dim)
    return weights.masked_fill(~mask, 0.0)


class AdditiveAttention(nn.Module):
    """Weighted mean of a row's vectors, with weights ``softmax(q . tanh(W v + b))``.

    The attention of NAML and NRMS over words, views and clicks (Wu et al., 2019a, section 3.1; Wu et al.,
    2019b, section 2.1), for padded rows (call it) or packed ones (``packed``). Both papers use 200 for
    ``attention_dim``; Legommenders uses 256 and normalises ``exp`` without subtracting the largest logit
    first, which overflows.
    """

    def __init__(self, input_dim: int, attention_dim: int = 200) -> None:
        super().__init__()
        self.hidden = nn.Linear(input_dim, attention_dim)
        self.query = nn.Parameter(torch.empty(attention_dim))
        nn.init.uniform_(self.query, -(attention_dim**-0.5), attention_dim**-0.5)

    def forward(self, values_BLD: Tensor, mask_BL: Tensor | None = None) -> Tensor:
        """(B, D) of padded rows, zero for a fully masked row. Without a mask every place counts."""
        if mask_BL is not None:
            if packs(values_BLD):
                return self.packed(*pack(values_BLD, mask_BL))
            values_BLD = where_true(values_BLD, mask_BL)
        logits_BL = self._logits(values_BLD.flatten(0, 1)).view(values_BLD.shape[:2])
        weights_BL = logits_BL.softmax(1) if mask_BL is None else masked_softmax(logits_BL, mask_BL, 1)
        return (weights_BL.to(values_BLD.dtype).unsqueeze(1) @ values_BLD).squeeze(1)

    def packed(self, values_TD: Tensor, rows: Segments) -> Tensor:
        """(R, D) of packed rows; an empty row gives zero."""
        return rows.weighted_sum(values_TD, rows.softmax(self._logits(values_TD)))

    def _logits(self, values_TD: Tensor) -> Tensor:
        # The sigmoid form subtracts nearly equal numbers, which half precision cannot afford.
        if is_taken() or values_TD.dtype in HALF or torch.is_autocast_enabled(values_TD.device.type):
            return (torch.tanh(self.hidden(values_TD)) @ self.query).float()
        return AdditiveLogits.apply(values_TD, self.hidden.weight, self.hidden.bias, self.query)


class MultiHeadSelfAttention(nn.Module):
    """Replace each vector of a row by a mixture of the row's vectors (NRMS; Wu et al., 2019, eq. 1-2).

    Each head has a mixture of its own. The paper's bilinear form ``e_i Q_k e_j`` is factored into queries and
    keys of the head's width and divided by the square root of that width, as in the authors' code and in the
    transformer (Vaswani et al., 2017, section 3.2.2). There are no biases, and no projection after the joined
    heads: it equals ``nn.MultiheadAttention(bias=False)`` with the identity as output projection.

    Args:
        causal: a vector sees only itself and the vectors before it.
    """

    def __init__(self, input_dim: int, hidden_dim: int, heads: int = 8, causal: bool = False) -> None:
        super().__init__()
        check_heads(heads, hidden_dim, "hidden_dim")
        self.heads = heads
        self.hidden_dim = hidden_dim
        self.causal = causal
        self.qkv = nn.Linear(input_dim, 3 * hidden_dim, bias=False)
        for part in self.qkv.weight.detach().split(hidden_dim):
            nn.init.xavier_uniform_(part)

    def forward(self, values_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """(B, L, hidden_dim). Masked places are not read; the result there is finite but has no meaning."""
        if not packs(values_BLD):
            return self.padded(where_true(values_BLD, mask_BL), mask_BL)
        values_TD, rows = pack(values_BLD, mask_BL)
        return unpack(self.packed(values_TD, rows), mask_BL)

    def packed(self, values_TD: Tensor, rows: Segments) -> Tensor:
        """(T, hidden_dim) of packed rows. On the CPU, rows of similar length go together, see ``grouped``."""
        if values_TD.device.type != "cpu":
            padded, mask_RL = rows.pad(self.qkv(values_TD))
            return rows.unpad(self._mixed(padded, mask_RL))
        wide = torch.float32 if values_TD.dtype in HALF else values_TD.dtype
        grouped = plan(rows.lengths.numpy(), self.heads, wide)
        qkv_SX = self.qkv(PermuteRows.apply(values_TD, grouped.spread, grouped.places))
        with torch.autocast("cpu", enabled=False):
            if self.causal or rows.max_length > LONG:
                out_SD = self._group_by_group(qkv_SX.to(wide), grouped.groups)
            else:
                out_SD = GroupedAttention.apply(qkv_SX.to(wide), grouped.groups, self.heads)
        return out_SD.index_select(0, grouped.places).to(qkv_SX.dtype)

    def padded(self, values_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """The same as calling it, but never packed; values at masked places must be finite."""
        return self._mixed(self.qkv(values_BLD), mask_BL)

    def _mixed(self, qkv_BLX: Tensor, mask_BL: Tensor) -> Tensor:
        B, L, _ = qkv_BLX.shape
        split = (B, L, 3, self.heads, self.hidden_dim // self.heads)
        query, key, value = qkv_BLX.view(split).permute(2, 0, 3, 1, 4)
        # Padding comes after the real places, where causal attention does not look. A row with no True place
        # looks everywhere: some kernels give NaN when there is nothing to look at.
        seen = None if self.causal else (mask_BL | ~mask_BL.any(1, keepdim=True))[:, None, None, :]
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=seen, is_causal=self.causal)
        return out.transpose(1, 2).reshape(B, L, self.hidden_dim)

    def _group_by_group(self, qkv_SX: Tensor, groups: list[Group]) -> Tensor:
        parts = [qkv_SX[:0, : self.hidden_dim]]
        sizes = [group.rows * group.length for group in groups]
        for part, group in zip(qkv_SX.split(sizes) if sizes else (), groups, strict=True):
            shape = (group.rows, group.length, 3, self.heads, self.hidden_dim // self.heads)
            query, key, value = part.view(shape).permute(2, 0, 3, 1, 4)
            bias = None if self.causal or group.bias is None else group.bias[:, None, None, :]
            out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, is_causal=self.causal)
            parts.append(out.transpose(1, 2).reshape(-1, self.hidden_dim))
        return torch.cat(parts)
