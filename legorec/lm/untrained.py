"""A language model of given sizes without a checkpoint: a LLaMA whose weights are drawn."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from legorec.lm.pretrained import Pretrained

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Untrained(Pretrained):
    """A LLaMA of these sizes, in the place of a checkpoint. Its weights are drawn from torch's global seed.

    Args:
        max_length: tokens of the longest row.

    Raises:
        ValueError: ``heads`` does not divide ``hidden_size``, or a size is not positive.
    """

    def __init__(
        self, vocab_size: int, hidden_size: int, num_layers: int, heads: int, max_length: int = 2048
    ) -> None:
        from transformers import LlamaConfig

        for name, value in (("hidden_size", hidden_size), ("num_layers", num_layers), ("heads", heads)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}")
        if hidden_size % (2 * heads):
            raise ValueError(
                f"`heads` must divide `hidden_size` ({hidden_size}) into even widths, got {heads}"
            )
        self.folder = Path()
        self.name = f"an untrained LLaMA ({num_layers} layers of width {hidden_size})"
        self.config = LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            intermediate_size=-(-8 * hidden_size // 3),
            num_hidden_layers=num_layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=max_length,
        )
        self.checked = set()

    @cached_property
    def weight_files(self) -> list[Path]:
        """None: the weights are drawn."""
        return []

    def digest(self) -> str:
        """Its name: the settings of a run hold the rest."""
        return self.name

    def tokenizer(self) -> Tokenizer:
        raise ValueError(f"{self.name} has no tokenizer of its own; name one of the store's")

    def fill(self, model: nn.Module, dtype: torch.dtype, within: str = "") -> None:
        """Draw the weights: matrices keep the size of what they read, norms are 1.

        LLaMA's own N(0, 0.02) is meant for widths in the thousands: at 20 the layers would hand on next to
        nothing, and a step of Adam would be as large as a weight.
        """
        for name, parameter in list(model.named_parameters()):
            if parameter.device.type == "meta" and torch.get_default_device().type != "meta":
                owner, _, last = name.rpartition(".")
                value = torch.empty(parameter.shape, dtype=dtype)
                if parameter.dim() > 1:
                    nn.init.normal_(value, std=value.shape[-1] ** -0.5)
                else:
                    nn.init.ones_(value)
                setattr(model.get_submodule(owner), last, nn.Parameter(value))

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("name", "config", "checked", "folder")}
