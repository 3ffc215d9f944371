"""The head of a causal language model: final states -> logits of the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from safetensors import safe_open
from torch import Tensor

from legorec.lm.checkpoint_files import PretrainedError
from legorec.lm.empty_weights import empty_weights
from legorec.lm.pretrained import Pretrained


@dataclass(frozen=True)
class Head:
    """``cap * tanh(scale * W x / cap)``, without the outer part where there is no cap (Gemma 2)."""

    weight: Tensor  # (V, D)
    scale: float = 1.0
    cap: float | None = None


def head_of(pretrained: Pretrained) -> Head:
    """The head as its checkpoint has it: its own matrix, or that of the token embeddings.

    Raises:
        PretrainedError: the model has no such head, or its checkpoint does not hold it.
    """
    from transformers import AutoModelForCausalLM

    config = pretrained.config
    if torch.get_default_device().type == "meta":
        return Head(torch.empty(pretrained.vocab_size, pretrained.output_width))
    with empty_weights():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    module = model.get_output_embeddings()
    name = next((name for name, each in model.named_modules() if each is module), None)
    if name is None or getattr(module, "bias", None) is not None:
        raise PretrainedError(f"{pretrained.name}: its head is no plain matrix, which prompts need")
    weight = _stored(pretrained, f"{name}.weight")
    if weight is None:
        if not getattr(config, "tie_word_embeddings", False):
            raise PretrainedError(
                f"{pretrained.name} does not hold '{name}.weight'; the checkpoint is incomplete"
            )
        weight = pretrained.token_table()
    scale = float(getattr(config, "logit_scale", None) or 1.0)  # Cohere
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)  # Granite
    cap = getattr(config, "final_logit_softcapping", None)
    return Head(weight, scale, None if cap is None else float(cap))


def _stored(pretrained: Pretrained, name: str) -> Tensor | None:
    for file in pretrained.weight_files:
        with safe_open(file, framework="pt") as opened:
            if name in opened.keys():  # noqa: SIM118 - not a mapping
                found: Tensor = opened.get_tensor(name)
                return found
    return None
