"""Attention for language models, registered with transformers under a name of its own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from legorec.nn.dropout import dropped

AUTO = "auto"  # in settings: the best for the model's device
SHORT_ROWS = "legorec_short_rows"
LONG_QUERIES, LONG_KEYS = 32, 64  # from here on the kernel is faster on a CPU, with and without a gradient


def short_row_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Softmax attention; on the CPU as plain matrix products where rows are short, as transformers' ``sdpa``
    on other devices.

    The CPU kernels of ``scaled_dot_product_attention`` are made for long rows in float32: with some twenty
    tokens and a gradient they are slower than this, in bfloat16 several times slower at any length, and of
    300 tokens one to four times as fast. They know neither ``softcap`` nor ``s_aux``, so a model that has one
    is computed here on every device.

    Args:
        query: (B, heads, L, D); ``key`` and ``value`` may have fewer heads, each shared by several queries,
            and values may be of another width. They may be M, see ``plain_attention``.
        attention_mask: (B or 1, 1, L, M) True where a token is seen; None: everywhere.
        softcap: logits are bent to lie within plus and minus this, as in Gemma 2.
        s_aux: (heads,) a logit beside each query's, of a place that holds nothing, as in GPT-OSS.
    Returns: (B, L, heads, width of a value), and None for the weights, as transformers expects.
    """
    if query.device.type != "cpu" and softcap is None and s_aux is None:
        from transformers import AttentionInterface

        sdpa = AttentionInterface()["sdpa"]
        return sdpa(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)
    if softcap is None and s_aux is None and not dropout and _suits_the_kernel(query, key, value):
        out = long_attention(query, key, value, attention_mask, scaling)
    else:
        out = plain_attention(
            query, key, value, attention_mask, dropout, scale=scaling, softcap=softcap, s_aux=s_aux
        )
    return out.transpose(1, 2).contiguous(), None


def _suits_the_kernel(query: Tensor, key: Tensor, value: Tensor) -> bool:
    is_long = query.shape[2] >= LONG_QUERIES and key.shape[2] >= LONG_KEYS
    return is_long and query.dtype == torch.float32 and key.shape[3] == value.shape[3]


def long_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None
) -> Tensor:
    """(B, heads, L, D) by ``scaled_dot_product_attention``; arguments as of ``plain_attention``."""
    if mask is not None and mask.dtype == torch.bool:
        least = torch.finfo(query.dtype).min  # finite, as below
        mask = torch.zeros(mask.shape, dtype=query.dtype, device=mask.device).masked_fill_(~mask, least)
    shared = key.shape[1] != query.shape[1]
    return F.scaled_dot_product_attention(query, key, value, mask, scale=scale, enable_gqa=shared)


def plain_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
) -> Tensor:
    """(B, heads, L, D) ``scaled_dot_product_attention`` as plain products, over rows of one length.

    Keys and values may be M, with those of tokens that the rows come after in front.

    Args:
        attn_mask: (B or 1, 1, L, M) True where a token is seen, or what is added to the logits.
        enable_gqa: not read: fewer keys than queries are always shared.
        softcap, s_aux: as in ``short_row_attention``.
    """
    B, heads, L, D = query.shape
    by_key = (B, key.shape[1], heads // key.shape[1], L, key.shape[2])
    # Queries that share a key come one after another, so that keys need no copies.
    rows = query.reshape(B, key.shape[1], -1, D)
    logits = (rows * (D**-0.5 if scale is None else scale) @ key.transpose(2, 3)).view(by_key)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    if is_causal:
        attn_mask = torch.ones(1, 1, L, L, dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        # Finite, because a padding token after a window sees nothing, and its gradient must not be NaN.
        logits = logits.masked_fill(~attn_mask.unsqueeze(2), torch.finfo(logits.dtype).min)
    elif attn_mask is not None:
        logits = logits + attn_mask.unsqueeze(2)
    if s_aux is None:
        weights = logits.softmax(-1)
    else:
        beside = s_aux.to(logits.dtype).view(1, *by_key[1:3], 1, 1).expand(B, -1, -1, L, -1)
        weights = torch.cat([logits, beside], -1).softmax(-1)[..., :-1]
    # By query head, whether or not the caller has copied the keys that several share.
    weights = dropped(weights.reshape(B, heads, L, -1), dropout_p).to(value.dtype)
    weights = weights.view(B, key.shape[1], -1, key.shape[2])
    return (weights @ value).view(B, heads, L, value.shape[3])


def short_row_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """(B, 1, L, L) True where a token is seen, for a layer of any kind: full, windowed, in chunks.

    None where all is seen and no row is padded. transformers' own is None more often; it reads the mask's
    values for that, which waits for the device.
    """
    from transformers.masking_utils import sdpa_mask

    if kwargs.get("attention_mask") is not None:
        kwargs["allow_is_bidirectional_skip"] = False
    return sdpa_mask(*args, **{**kwargs, "allow_is_causal_skip": False})


def implementation(attention: str) -> str:
    """The name in transformers for a name in the settings."""
    if attention != AUTO:
        return attention
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(SHORT_ROWS, short_row_attention)
    AttentionMaskInterface.register(SHORT_ROWS, short_row_mask)
    return SHORT_ROWS
