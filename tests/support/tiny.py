"""Tiny random language models of every family, saved as checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from legorec.lm.layout import run
from legorec.lm.pretrained import Pretrained

VOCABULARY = 97
# In the words of all families at once: each config takes what it knows.
SIZES = {
    **{"vocab_size": VOCABULARY, "max_position_embeddings": 64, "n_positions": 64},
    **{"hidden_size": 32, "dim": 32, "n_embd": 32, "word_embed_proj_dim": 32, "embedding_size": 24},
    **{"num_hidden_layers": 3, "n_layers": 3, "n_layer": 3},
    **{"num_attention_heads": 4, "n_heads": 4, "n_head": 4, "num_key_value_heads": 2, "head_dim": 8},
    **{"intermediate_size": 48, "hidden_dim": 48, "ffn_dim": 48},
    **{"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
    **{"num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2},
    **{"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "intermediate_size_mlp": 48},
    **{"q_lora_rank": 16, "kv_lora_rank": 16, "n_group": 1, "topk_group": 1, "query_pre_attn_scalar": 8},
    **{"qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8},
    **{"linear_num_key_heads": 2, "linear_key_head_dim": 8},
    **{"linear_num_value_heads": 4, "linear_value_head_dim": 8},
}
# Layers of every kind that a type has, and what the sizes above do not fit.
_MIXED = {"layer_types": ["linear_attention", "full_attention", "linear_attention"]}
_RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 16}
KINDS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"), _MIXED),
    **dict.fromkeys(("deepseek_v2", "deepseek_v3"), {"num_key_value_heads": 4}),
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"]},
    "deberta": _RELATIVE,
    "deberta-v2": {
        **_RELATIVE,
        **{"position_buckets": 4, "norm_rel_ebd": "layer_norm", "share_att_key": True},
        **{"position_biased_input": False, "conv_kernel_size": 3, "conv_act": "gelu"},
    },
}


def tiny(
    model_type: str, folder: Path, head: bool = False, sharded: bool = False, **changes: Any
) -> Pretrained:
    """Save a random model of three layers; its weights are the same for the same type and ``changes``.

    Args:
        head: saved from the class with a language-model head, which puts a prefix before the names.
        sharded: in several files with an index.
        changes: of its config.
    """
    model = random_model(model_type, head, **changes)
    model.save_pretrained(folder, max_shard_size="20KB" if sharded else "1GB")
    return Pretrained(folder)


def random_model(model_type: str, head: bool = False, **changes: Any) -> Any:
    """A random model in evaluation mode."""
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    usual = AutoConfig.for_model(model_type)
    sizes = {name: value for name, value in SIZES.items() if hasattr(usual, name)}
    config = AutoConfig.for_model(model_type, **{**sizes, **KINDS.get(model_type, {}), **changes})
    base = AutoModel.from_config(config)
    _draw(base)
    if not head:
        return base.eval()
    causal = model_type in _causal_types()
    model = (AutoModelForCausalLM if causal else AutoModelForMaskedLM).from_config(config)
    _draw(model)
    told = getattr(model, model.base_model_prefix).load_state_dict(base.state_dict(), strict=False)
    assert not told.missing_keys
    return model.eval()


def whole(pretrained: Pretrained, head: bool = False) -> Any:
    """The whole model of a checkpoint, as transformers reads it."""
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

    kind = AutoModelForCausalLM if pretrained.family.causal else AutoModelForMaskedLM
    return (kind if head else AutoModel).from_pretrained(pretrained.folder, dtype=torch.float32).eval()


def states_of(model: nn.Module, ids_T: Tensor, lengths_R: Tensor) -> Tensor:
    """(T, E) final states of a whole model, each row run alone and without padding."""
    rows = [row for row in ids_T.split(lengths_R.tolist()) if len(row)]
    with torch.no_grad():
        return torch.cat([run(model, input_ids=row[None])[0] for row in rows])


def packed_ids(lengths: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random token ids (T,), none of them special, and the lengths (R,)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (sum(lengths),), generator=generator), torch.tensor(lengths)


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference, in units of the largest value where that is above one."""
    assert found.shape == expected.shape
    if not expected.numel():
        return 0.0
    return float((found.detach() - expected).abs().max() / max(1.0, float(expected.detach().abs().max())))


def _draw(model: nn.Module) -> None:
    """Biases and norms too, so that one left out is seen; the same numbers whatever was drawn before."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, value in model.named_parameters():
            # Some norms count from one: their weights are zero at first.
            norm = value.dim() == 1 and name.endswith("weight") and bool((value == 1.0).all())
            value.normal_(1.0 if norm else 0.0, 0.1, generator=generator)


def _causal_types() -> set[str]:
    from legorec.lm.model_types import FAMILIES

    return {name for name, family in FAMILIES.items() if family.causal}
