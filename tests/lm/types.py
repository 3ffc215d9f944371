"""The model types that have a row: quick ones of every kind, and the rest for the slow tests."""

import pytest

from legorec.lm.model_types import FAMILIES

QUICK = (
    *("bert", "roberta", "electra", "llama", "qwen3", "gpt2", "opt"),
    *("gemma2", "gpt_oss", "modernbert", "qwen3_next", "deberta-v2"),
)
EVERY = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]
WITHOUT_SDPA = {"gemma2", "vaultgemma", "gpt_oss", "mpnet", "deberta", "deberta-v2"}

WINDOW = 4
# Models whose layers differ from each other, or that have more than layers.
UNEVEN = {
    "qwen2 with mixed windows": ("qwen2", {
        "use_sliding_window": True, "sliding_window": WINDOW,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"]}),
    "qwen3 with mixed windows": ("qwen3", {
        "use_sliding_window": True, "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}),
    "ministral with mixed windows": ("ministral", {
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}),
    "mistral with a window": ("mistral", {"sliding_window": WINDOW}),
    "phi3 with a window": ("phi3", {"sliding_window": WINDOW}),
    "smollm3 with a layer without positions": ("smollm3", {"no_rope_layers": [1, 0, 1]}),
    "gpt2 scaled by layer": ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
    "opt-350m": ("opt", {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "llama with biases and tied": ("llama", {
        "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "gpt_neox in sequence": ("gpt_neox", {"use_parallel_residual": False}),
    "gemma2 with a window": ("gemma2", {"sliding_window": WINDOW}),
    "modernbert with a window": ("modernbert", {"local_attention": WINDOW}),
}  # fmt: skip
LATER = {
    "gemma2 without soft caps": ("gemma2", {"attn_logit_softcapping": None}),
    "gemma3 with both rotary bases": ("gemma3_text", {
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}),
    "gpt_oss with a window": ("gpt_oss", {"sliding_window": WINDOW}),
    "modernbert-decoder with a window": ("modernbert-decoder", {"local_attention": WINDOW}),
    "cohere2 with mixed windows": ("cohere2", {
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}),
    "olmo3 with mixed windows": ("olmo3", {
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}),
    "exaone4 with mixed windows": ("exaone4", {
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}),
    "granite that scales its input": ("granite", {
        "embedding_multiplier": 12.0, "residual_multiplier": 0.22, "attention_multiplier": 0.1}),
    "granitemoe that scales its input": ("granitemoe", {"embedding_multiplier": 12.0}),
    "glm4 with few rotary places": ("glm4", {"partial_rotary_factor": 0.5}),
    "qwen3_moe with a dense layer": ("qwen3_moe", {"mlp_only_layers": [1]}),
    "qwen3_next with attention above": ("qwen3_next", {
        "layer_types": ["full_attention", "linear_attention", "full_attention"]}),
    "deepseek_v3 with dense layers": ("deepseek_v3", {"first_k_dense_replace": 2}),
    "deberta-v2 with positions in its input": ("deberta-v2", {
        "position_biased_input": True, "conv_kernel_size": 0, "type_vocab_size": 2}),
    "deberta-v2 with narrow embeddings": ("deberta-v2", {"embedding_size": 24}),
    "deberta-v2 without relative positions": ("deberta-v2", {
        "relative_attention": False, "position_biased_input": True}),
}  # fmt: skip
