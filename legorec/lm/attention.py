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
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Softmax attention; on the CPU as plain matrix products, elsewhere as transformers' ``sdpa``.

    The CPU kernels of ``scaled_dot_product_attention`` are made for long rows: with some twenty tokens and a
    gradient they are slower than this, several times slower in bfloat16. They know neither ``softcap`` nor
    ``s_aux``, so a model that has one is computed here on every device.

    Args:
        query: (B, heads, L, D); ``key`` and ``value`` may have fewer heads, each shared by several queries,
            and values may be of another width.
        attention_mask: (B or 1, 1, L, L) True where a token is seen; None: everywhere.
        softcap: logits are bent to lie within plus and minus this, as in Gemma 2.
        s_aux: (heads,) a logit beside each query's, of a place that holds nothing, as in GPT-OSS.
    Returns: (B, L, heads, width of a value), and None for the weights, as transformers expects.
    """
    if query.device.type != "cpu" and softcap is None and s_aux is None:
        from transformers import AttentionInterface

        sdpa = AttentionInterface()["sdpa"]
        return sdpa(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)
    B, heads, L, D = query.shape
    shared = heads // key.shape[1]
    # Queries that share a key come one after another, so that keys need no copies.
    rows = query.reshape(B, key.shape[1], shared * L, D)
    logits = rows * (D**-0.5 if scaling is None else scaling) @ key.transpose(2, 3)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    if attention_mask is not None:
        # Finite, because a padding token behind a window sees nothing, and its gradient must not be NaN.
        nothing = torch.finfo(logits.dtype).min
        logits = logits.view(B, key.shape[1], shared, L, L).masked_fill(~attention_mask.unsqueeze(2), nothing)
        logits = logits.view(B, key.shape[1], shared * L, L)
    if s_aux is None:
        weights = logits.softmax(-1)
    else:
        beside = s_aux.to(logits.dtype).view(1, key.shape[1], shared, 1, 1).expand(B, -1, -1, L, -1)
        logits = torch.cat([logits, beside.reshape(B, key.shape[1], shared * L, 1)], -1)
        weights = logits.softmax(-1)[..., :-1]
    weights = dropped(weights, dropout)
    out = (weights @ value).view(B, heads, L, value.shape[-1])
    return out.transpose(1, 2).contiguous(), None


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
