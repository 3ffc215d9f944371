"""Random language models with the words of a generated store: tiny ones, to show that everything runs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
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
    return [
        Checkpoint(f"tiny-{kind}", random_model(store, folder / kind, kind, SIZES), 2, TEMPLATE)
        for kind in ("bert", "llama")
    ]


def random_model(store: Store, folder: Path, model_type: str, sizes: Mapping[str, Any]) -> Path:
    """A model of these sizes with random weights, and the tokenizer of the store's words, as ``folder``."""
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(2023)
    size = store.manifest["tokenizers"]["words"]["size"]
    config = AutoConfig.for_model(model_type, vocab_size=size, **sizes)
    AutoModel.from_config(config).save_pretrained(folder)
    shutil.copy(store.path / "tokenizers" / "words" / "tokenizer.json", folder)
    return folder
