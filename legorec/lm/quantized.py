"""Frozen linear layers in 8 or 4 bits, by the optional bitsandbytes (Dettmers et al., 2022 and 2023)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import nn

Bits = Literal[8, 4]
BLOCK = 64  # weights that share a scale, in 4 bits


def check_installed() -> None:
    """Raises ValueError: bitsandbytes is not there."""
    if find_spec("bitsandbytes") is None:
        raise ValueError("`bits` needs the package bitsandbytes: pip install 'legorec[bits]'")


def quantize(model: Any, layers: nn.Module, bits: Bits) -> None:
    """Round the weights of every linear layer inside ``layers``; they are as good as frozen from then on.

    In 8 bits a row of a matrix has one scale (LLM.int8), in 4 bits each 64 weights have (NF4). In 4 bits a
    layer stays as it is where 64 do not divide its inputs: on CPUs with AVX-512 bitsandbytes 0.50.2 reads
    such a matrix back with other weights. On ``meta`` only the sizes are made, which needs no bitsandbytes.

    Args:
        model: what the layers are part of; it is marked for peft, whose adapters differ then.

    Raises:
        ValueError: bitsandbytes is missing, or there is no linear layer to round.
    """
    found = [
        (owner, name, each)
        for owner in layers.modules()
        for name, each in owner.named_children()
        if type(each) is nn.Linear and (bits == 8 or each.in_features % BLOCK == 0)
    ]
    if not found:
        whole = "" if bits == 8 else f" with a multiple of {BLOCK} inputs"
        raise ValueError(f"`bits` has nothing to round: the layers hold no linear layer{whole}; leave it out")
    only_sizes = found[0][2].weight.device.type == "meta"
    if not only_sizes:
        check_installed()
    for owner, name, linear in found:
        setattr(owner, name, (_sizes if only_sizes else _rounded)(linear, bits))
    if not only_sizes:
        model.is_loaded_in_8bit, model.is_loaded_in_4bit = bits == 8, bits == 4


def _rounded(linear: nn.Linear, bits: Bits) -> nn.Module:
    import bitsandbytes as bnb

    sizes = (linear.in_features, linear.out_features, linear.bias is not None)
    weight: torch.Tensor = linear.weight.data
    new: Any = None
    if bits == 8:
        new = bnb.nn.Linear8bitLt(*sizes, has_fp16_weights=False)
        new.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    else:
        new = bnb.nn.Linear4bit(*sizes, compute_dtype=weight.dtype, quant_type="nf4")
        new.weight = bnb.nn.Params4bit(weight, requires_grad=False, quant_type="nf4", module=new)
        # On a CPU with bf16 instructions the first forward pass without a gradient would pack the weights for
        # a kernel through which no later pass has a gradient (seen in 0.50.2).
        new.support_avx512bf16_for_cpu = False
    if linear.bias is not None:
        new.bias = linear.bias
    rounded: nn.Module = new.to(weight.device)  # this is where it rounds
    return rounded.requires_grad_(False)


def _sizes(linear: nn.Linear, bits: Bits) -> nn.Module:
    """The layer with a weight, and scales, of as many bytes."""
    rows, columns = linear.out_features, linear.in_features
    scales = 4 * rows if bits == 8 else rows * columns // BLOCK
    shape, kind = ((rows, columns), torch.int8) if bits == 8 else ((rows, columns // 2), torch.uint8)
    linear.weight = nn.Parameter(torch.empty(shape, dtype=kind, device="meta"), requires_grad=False)
    linear.register_buffer("scales", torch.empty(scales, dtype=torch.uint8, device="meta"), persistent=False)
    return linear.requires_grad_(False)


def frozen_bytes(model: nn.Module) -> int:
    """Bytes of the parameters that are not trained, without the scales of rounded ones."""
    return sum(value.nbytes for value in model.parameters() if not value.requires_grad)
