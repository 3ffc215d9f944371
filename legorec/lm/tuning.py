"""The upper layers of a language model inside an item encoder: with adapters, fully tuned, or frozen."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.lm.cut import Attention, Precision, UpperLayers
from legorec.lm.lora import LoRA, inject, load_adapter, save_adapter
from legorec.lm.pretrained import Pretrained


class TunedLayers(nn.Module):
    """Token states at ``depth`` -> final states, in at least float32.

    Args:
        input_dim: width of the states. Where it differs from the model's, a learned projection comes first.
        lora: adapters on the layers; with ``enabled: false`` the layers themselves are tuned.
        frozen: no part of the language model is tuned, and its dropout is off.
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
        self.upper = UpperLayers(pretrained, depth, dtype, attention, gradient_checkpointing)
        self.output_dim = self.upper.output_dim
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

    def save_adapter(self, folder: Path) -> None:
        """Write the adapters in peft's format, see ``legorec.lm.lora``; does nothing if there are none."""
        if self.lora.enabled:
            save_adapter(self.upper, self.base, folder, self.lora)

    def forward(self, states: TokenStates) -> Tensor:
        """(T, output_dim), packed as the states are, all fields of an item as one sequence."""
        values_TE = states.values
        if self.project is not None:
            values_TE = self.project(values_TE.to(self.project.weight.dtype))
        values_TE = values_TE.to(next(self.upper.parameters(), values_TE).dtype)
        unneeded = self.frozen and not values_TE.requires_grad
        with torch.no_grad() if unneeded else nullcontext():
            out_TE = self.upper(values_TE, states.by_item.lengths)
        return out_TE.to(torch.promote_types(out_TE.dtype, torch.float32))
