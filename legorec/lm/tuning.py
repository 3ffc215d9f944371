"""The upper layers of a language model inside an item encoder: with adapters, fully tuned, or frozen."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.lm.cut import Attention, Precision, UpperLayers
from legorec.lm.lora import LoRA, inject, load_adapter, save_adapter
from legorec.lm.padded_rows import Past
from legorec.lm.pretrained import DTYPES, Pretrained
from legorec.lm.quantized import Bits, quantize

# What models call the dropout of attention's weights in their configs.
ATTENTION_DROPOUT = ("attention_dropout", "attention_probs_dropout_prob", "attn_pdrop")


class TunedLayers(nn.Module):
    """Token states at ``depth`` -> final states, in at least float32.

    Weights that are tuned are kept in float32 whatever ``dtype`` says, and are rounded to it where they are
    used: a step of Adam is smaller than the distance between two numbers of half precision, and would change
    few of them. What is frozen is kept in ``dtype``, and adapters on it in float32.

    Args:
        input_dim: width of the states. Where it differs from the model's, a learned projection comes first.
        lora: adapters on the layers; with ``enabled: false`` the layers themselves are tuned.
        frozen: no part of the language model is tuned, and its dropout is off.
        bits: of the frozen weights of linear layers, see ``legorec.lm.quantized``; None: as ``dtype`` says.
    Raises:
        ValueError: ``frozen`` together with ``lora``, or either is impossible at this depth.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        depth: int,
        input_dim: int,
        lora: LoRA,
        frozen: bool = False,
        dtype: Precision = "fp32",
        attention: Attention = "auto",
        gradient_checkpointing: bool = False,
        bits: Bits | None = None,
    ) -> None:
        super().__init__()
        if frozen and lora.enabled:
            raise ValueError(
                "`frozen` leaves nothing for LoRA to tune; give `--lora 0` with it, or leave it out"
            )
        self.frozen = frozen
        self.base, self.lora = pretrained, lora
        width = pretrained.width
        self.project = None if input_dim == width else nn.Linear(input_dim, width)
        self.dtype, self.attention = DTYPES[dtype], attention
        self.rounds = dtype != "fp32" and not (frozen or lora.enabled)
        kept: Precision = "fp32" if self.rounds else dtype
        self.upper = UpperLayers(pretrained, depth, kept, attention, gradient_checkpointing)
        self.output_dim = self.upper.output_dim
        if bits is not None:
            quantize(self.upper.model, self.upper.layers, bits)
        if lora.enabled:
            inject(self.upper, pretrained, lora)
            if lora.adapter is not None:
                load_adapter(self.upper, pretrained, Path(lora.adapter))
        elif frozen:
            self.upper.requires_grad_(False)

    def train(self, mode: bool = True) -> TunedLayers:
        """Frozen layers stay in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.upper.train(False)
        return self

    def check_training(self) -> None:
        """Refuse what cannot be trained; ``frozen`` layers after states that do not learn can.

        Raises:
            ValueError: gradients would be computed in fp16, which has no room for small ones; or attention
                would draw its dropout where it cannot be told which item it belongs to.
        """
        if not (self.frozen and self.project is None):
            self._refuse_fp16()
        rates = (getattr(self.upper.model.config, name, 0.0) for name in ATTENTION_DROPOUT)
        if self.attention == "flash_attention_2" and not self.frozen and any(rates):
            raise ValueError(
                f"`attention: flash_attention_2` draws the dropout of {self.base.name} in its kernel, by "
                "process and not by item; take `sdpa` or `auto`"
            )

    def _refuse_fp16(self) -> None:
        if self.dtype == torch.float16:
            raise ValueError(
                "`dtype: fp16` (--lm_dtype) is for layers that nothing is learned in or before: small "
                "gradients become 0 in fp16; train in bf16 or fp32, or with `frozen: true`"
            )

    def save_adapter(self, folder: Path) -> None:
        """Write the adapters in peft's format, see ``legorec.lm.lora``; does nothing if there are none."""
        if self.lora.enabled:
            save_adapter(self.upper, self.base, folder, self.lora)

    def forward(self, states: TokenStates) -> Tensor:
        """(T, output_dim), packed as the states are, all fields of an item as one sequence."""
        return self._through(states.values, lambda values_TE: self.upper(values_TE, states.by_item.lengths))

    def padded(self, values_TE: Tensor, lengths: np.ndarray, past: Past) -> Tensor:
        """``forward`` of rows that are run as one padded batch, after others; without gradients."""
        return self._through(values_TE, lambda values_TE: self.upper.padded(values_TE, lengths, past))

    def _through(self, values_TE: Tensor, layers: Callable[[Tensor], Tensor]) -> Tensor:
        if self.project is not None:
            values_TE = self.project(values_TE.to(self.project.weight.dtype))
        values_TE = values_TE.to(self.upper.dtype or values_TE.dtype)
        unneeded = self.frozen and not values_TE.requires_grad
        if self.frozen and values_TE.requires_grad:
            self._refuse_fp16()  # it is the source that learns
        rounding = torch.autocast(values_TE.device.type, self.dtype) if self.rounds else nullcontext()
        with torch.no_grad() if unneeded else nullcontext(), rounding:
            out_TE = layers(values_TE)
        return out_TE.to(torch.promote_types(out_TE.dtype, torch.float32))
