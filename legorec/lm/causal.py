"""A causal language model with its head, and an adapter in it, for generating texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from legorec.lm.adapter_files import AdapterError, read_facts, read_weights, refuse_variants
from legorec.lm.checkpoint_files import PretrainedError, reason
from legorec.lm.lora import adapter_weights, fill_adapters
from legorec.lm.pretrained import DTYPES, Pretrained


def load_causal(
    folder: Path, adapter: Path | None = None, dtype: str = "fp32", device: torch.device | None = None
) -> Any:
    """The model of a checkpoint in evaluation mode; every weight must be there, and every one of the adapter.

    Args:
        adapter: a folder that ``save_adapter`` or peft wrote.
        dtype: ``fp32``, ``bf16`` or ``fp16``, whatever the file holds.

    Raises:
        PretrainedError: the checkpoint is missing, damaged or of another kind.
        AdapterError: the adapter does not fit.
    """
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    pretrained = Pretrained(folder)
    _ = pretrained.weight_files  # refuses what is pickled or incomplete, in our words
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=DTYPES[dtype],
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            generation_config=GenerationConfig(),  # in place of the file, which may be wrong or mislead
        )
    except Exception as error:  # what it raises differs between models and versions
        raise PretrainedError(f"{folder} cannot be loaded as a causal model: {reason(error)}") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    model, told = loaded
    wrong = [*told["missing_keys"], *(str(each) for each in told["mismatched_keys"])]
    if wrong:
        raise PretrainedError(
            f"{folder} lacks weights of a causal model, '{sorted(wrong)[0]}' and {len(wrong) - 1} more"
        )
    if adapter is not None:
        put_adapter(model, pretrained, adapter)
    return model.to(device or torch.device("cpu")).eval().requires_grad_(False)


def put_adapter(model: Any, pretrained: Pretrained, folder: Path) -> None:
    """Put a saved LoRA adapter into a model with a head.

    Raises:
        AdapterError: it is missing, damaged or untrained, or was made for another model; see ``lm.lora``.
    """
    from peft import LoraConfig, inject_adapter_in_model

    facts = read_facts(folder)
    refuse_variants(facts, folder)
    base = getattr(model, model.base_model_prefix)
    found = read_weights(folder, f"{model.base_model_prefix}.")
    taken = ("r", "lora_alpha", "target_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out")
    given = {key: facts[key] for key in taken if facts.get(key) is not None}
    try:
        inject_adapter_in_model(LoraConfig(lora_dropout=0.0, **given), base)
    except (ValueError, TypeError) as error:
        raise AdapterError(f"the adapter {folder} does not fit {pretrained.name}: {reason(error)}") from error
    wanted = adapter_weights(base)
    if astray := sorted(wanted.keys() ^ found.keys()):
        where = "is missing from it" if astray[0] in wanted else "has no place in the model"
        raise AdapterError(
            f"the adapter {folder} does not fit {pretrained.name}: '{astray[0]}' {where}, "
            f"and {len(astray) - 1} more"
        )
    fill_adapters(wanted, found, pretrained, folder)
