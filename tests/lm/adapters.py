"""Upper layers of tiny models with adapters, as if trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from legorec.lm.cut import LowerLayers, UpperLayers
from legorec.lm.lora import LoRA, inject
from legorec.lm.pretrained import Pretrained
from tests.support.tiny import packed_ids

TYPES = ["llama", "bert", "gpt2", "opt", "qwen3"]
DEPTH = 1
IDS, LENGTHS = packed_ids([5, 0, 1, 7, 5])
CHOSEN = LoRA(r=4, alpha=6.0, dropout=0.1)


def upper(
    pretrained: Pretrained,
    chosen: LoRA = CHOSEN,
    seed: int = 3,
    trained: bool = True,
    depth: int = DEPTH,
    dtype: Any = "fp32",
) -> UpperLayers:
    """Upper layers in evaluation mode, with adapters."""
    torch.manual_seed(seed)
    model = UpperLayers(pretrained, depth, dtype).eval()
    inject(model, pretrained, chosen)
    for name, value in model.named_parameters():
        if trained and ".lora_B." in name:
            torch.nn.init.normal_(value, std=0.1)
    return model


def states(pretrained: Pretrained, depth: int = DEPTH) -> Tensor:
    """What goes into them."""
    return LowerLayers(pretrained, [depth])(IDS, LENGTHS)[depth]
