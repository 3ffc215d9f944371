"""A tuned causal model as one that generates: its weights, adapters merged, in a model of transformers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from legorec.lm.answering import CausalModel
from legorec.lm.empty_weights import empty_weights


def generating(model: CausalModel) -> Any:
    """The model in evaluation mode, with keys and values kept from token to token, on its device.

    Weights are shared where they need no change, in the dtype of the tuned layers; it does not follow a
    model that is trained on.

    Raises:
        ValueError: a weight of the model with a head is not there.
    """
    from transformers import AutoModelForCausalLM

    with empty_weights():
        headed: Any = AutoModelForCausalLM.from_config(model.base.config, dtype=torch.float32)
    base = getattr(headed, headed.base_model_prefix)
    found = {f"{headed.base_model_prefix}.{name}": value for name, value in tuned_weights(model).items()}
    table = next(name for name, each in base.named_modules() if each is headed.get_input_embeddings())
    head = next(name for name, each in headed.named_modules() if each is headed.get_output_embeddings())
    if model.table is not None:
        found[f"{headed.base_model_prefix}.{table}.weight"] = model.table.weight
    found[f"{head}.weight"] = model.get_buffer("head_VD") if model.table is None else model.table.weight
    device, dtype = next(iter(found.values())).device, model.upper.dtype
    for name, _ in list(headed.named_parameters(remove_duplicate=False)):
        if name not in found:
            raise ValueError(f"{model.base.name}: the tuned model has no '{name}', which generating needs")
        owner, _, last = name.rpartition(".")
        value = found[name].detach().to(dtype)
        setattr(headed.get_submodule(owner), last, nn.Parameter(value, requires_grad=False))
    return headed.to(device).eval()


def tuned_weights(model: CausalModel) -> dict[str, Tensor]:
    """The weights of the base model by name, adapters merged into those that they tune."""
    found: dict[str, Tensor] = {}
    if model.table is None:
        found |= dict(model.lower.model.named_parameters())
    upper = model.upper.upper.model
    for name, value in upper.named_parameters():
        if ".lora_" not in name:
            found[name.replace(".base_layer.", ".")] = value
    if not model.upper.lora.enabled:
        return found
    from peft.tuners.lora import LoraLayer  # which takes seconds

    for name, layer in upper.named_modules():
        if isinstance(layer, LoraLayer):
            weight = found[f"{name}.weight"]
            adapted: Any = layer
            update: Any = sum(adapted.get_delta_weight(each) for each in layer.active_adapters)
            found[f"{name}.weight"] = (weight.float() + update.float()).to(weight.dtype)
    return found
