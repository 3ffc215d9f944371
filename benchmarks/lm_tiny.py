"""Tiny random language models, with the words of a generated store, to show that everything runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from benchmarks.lm_subject import Checkpoint
from legorec.data.store import Store

TEMPLATE = "{title:20} {category:4}"
SIZES: dict[str, Any] = {
    **{"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2},
    **{"num_hidden_layers": 3, "max_position_embeddings": 64},
    **{"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
}


def tiny_checkpoints(store: Store, folder: Path) -> list[Checkpoint]:
    """One of BERT's family and one of LLaMA's, three layers each, cut at depth 2."""
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    found = []
    for model_type in ("bert", "llama"):
        torch.manual_seed(2023)
        own = folder / model_type
        size = store.manifest["tokenizers"]["words"]["size"]
        config = AutoConfig.for_model(model_type, vocab_size=size, **SIZES)
        AutoModel.from_config(config).save_pretrained(own)
        shutil.copy(store.path / "tokenizers" / "words" / "tokenizer.json", own)
        found.append(Checkpoint(f"tiny-{model_type}", own, 2, TEMPLATE))
    return found
