"""The head of a causal language model: final states -> logits of the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from legorec.lm.checkpoint_files import PretrainedError
from legorec.lm.empty_weights import empty_weights
from legorec.lm.pretrained import Pretrained
from legorec.lm.stored import StoredWeights


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
    # Some are stored under another name: Pythia's as ``embed_out``.
    stored = StoredWeights(pretrained.weight_files, model)
    if f"{name}.weight" in stored:
        weight = stored.read(f"{name}.weight", {})
    else:
        if not getattr(config, "tie_word_embeddings", False):
            raise PretrainedError(
                f"{pretrained.name} does not hold '{name}.weight'; the checkpoint is incomplete"
            )
        weight = pretrained.token_table()
    scale = float(getattr(config, "logit_scale", None) or 1.0)  # Cohere
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)  # Granite
    cap = getattr(config, "final_logit_softcapping", None)
    return Head(weight, scale, None if cap is None else float(cap))
