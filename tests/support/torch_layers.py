"""Torch's own layers with the weights of ours."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from legorec.nn.attention import MultiHeadSelfAttention
from legorec.nn.sequence import Pool
from legorec.nn.transformer import PostNorm


def encoder_layer(
    attention: MultiHeadSelfAttention, out: nn.Linear, behind: PostNorm, activation: Any = "relu"
) -> nn.TransformerEncoderLayer:
    """``nn.TransformerEncoderLayer``, its attention biases zero."""
    layer = nn.TransformerEncoderLayer(
        attention.hidden_dim,
        attention.heads,
        behind.inner.out_features,
        dropout=0.0,
        activation=activation,
        batch_first=True,
        dtype=attention.qkv.weight.dtype,
    )
    with torch.no_grad():
        layer.self_attn.in_proj_weight.copy_(attention.qkv.weight)
        layer.self_attn.in_proj_bias.zero_()
        layer.self_attn.out_proj.weight.copy_(out.weight)
        layer.self_attn.out_proj.bias.zero_()
    layer.linear1, layer.linear2 = behind.inner, behind.outer
    layer.norm1, layer.norm2 = behind.norm, behind.outer_norm
    return layer


def transformer(layers: nn.ModuleList) -> Callable[[Tensor], Tensor]:
    """One row (L, D) through such layers."""
    copies = [encoder_layer(layer.attention, layer.out, layer.behind) for layer in layers]

    def run(row_LD: Tensor) -> Tensor:
        for layer in copies:
            row_LD = layer(row_LD[None])[0]
        return row_LD

    return run


def weighted_mean(pool: Pool, row_LD: Tensor) -> Tensor:
    """a = q . tanh(W v + b); the mean by softmax(a), and a dense layer."""
    logits = torch.tanh(pool.attention.hidden(row_LD)) @ pool.attention.query
    return logits.softmax(0) @ row_LD @ pool.dense.weight.T


def moved(module: nn.Module) -> nn.Module:
    """The same module with every parameter random, so that nothing passes because a norm is the identity."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return module.double().eval()
