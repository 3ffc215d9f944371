"""Attention for language models over short rows, registered with transformers under a name of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from legorec.nn.dropout import dropped

AUTO = "auto"  # in settings: the best for the model's device
SHORT_ROWS = "legorec_short_rows"


def short_row_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Softmax attention; on the CPU as plain matrix products, elsewhere as transformers' ``sdpa``.

    The CPU kernels of ``scaled_dot_product_attention`` are made for long rows: with some twenty tokens and a
    gradient they are slower than this, several times slower in bfloat16.

    Args:
        query: (B, heads, L, D); ``key`` and ``value`` may have fewer heads, each shared by several queries.
        attention_mask: (B or 1, 1, L, L) True where a token is seen; None: everywhere.
    Returns: (B, L, heads, D), and None for the weights, as transformers expects.
    """
    if query.device.type != "cpu":
        from transformers import AttentionInterface

        sdpa = AttentionInterface()["sdpa"]
        return sdpa(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)
    out = plain_attention(query, key, value, attention_mask, dropout, scale=scaling)
    return out.transpose(1, 2).contiguous(), None


def plain_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """(B, heads, L, D) ``scaled_dot_product_attention`` as plain products, over rows of one length.

    Args:
        attn_mask: (B or 1, 1, L, L) True where a token is seen, or what is added to the logits.
        enable_gqa: not read: fewer keys than queries are always shared.
    """
    B, heads, L, D = query.shape
    by_key = (B, key.shape[1], heads // key.shape[1], L, L)
    # Queries that share a key come one after another, so that keys need no copies.
    rows = query.reshape(B, key.shape[1], -1, D)
    logits = (rows * (D**-0.5 if scale is None else scale) @ key.transpose(2, 3)).view(by_key)
    if is_causal:
        attn_mask = torch.ones(1, 1, L, L, dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        logits = logits.masked_fill(~attn_mask.unsqueeze(2), -torch.inf)
    elif attn_mask is not None:
        logits = logits + attn_mask.unsqueeze(2)
    weights = dropped(logits.softmax(-1), dropout_p).to(value.dtype).view(B, key.shape[1], -1, L)
    return (weights @ value).view(B, heads, L, value.shape[3])


def implementation(attention: str) -> str:
    """The name in transformers for a name in the settings."""
    if attention != AUTO:
        return attention
    from transformers import AttentionInterface

    AttentionInterface.register(SHORT_ROWS, short_row_attention)
    return SHORT_ROWS
