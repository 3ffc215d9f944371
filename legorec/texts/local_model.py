"""Which local model it is: the digests of its parts, and its tokenizer."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from legorec.files.digest import digest_bytes, digest_files
from legorec.lm.adapter_files import CONFIG, WEIGHTS
from legorec.lm.pretrained import Pretrained

TOKENIZER_FILES = (
    *("tokenizer*", "*.model", "vocab*", "merges.txt"),
    *("special_tokens_map.json", "chat_template*"),
)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a checkpoint, with its chat template; code that comes with it is never run.

    Raises:
        ValueError: there is none that can be read.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # what it raises differs between kinds
        line = " ".join(str(error).split())[:200]
        raise ValueError(f"{folder} has no tokenizer that can be read: {line}") from error


def folder_weights(folder: Path, adapter: Path | None, dtype: str) -> dict[str, Any]:
    """The weights, the tokenizer and the adapter of a folder, by their digests; no model is loaded."""
    pretrained = Pretrained(folder)
    files = sorted({file for name in TOKENIZER_FILES for file in folder.glob(name) if file.is_file()})
    digests = digest_files(files)
    tokenizer = " ".join(f"{file.name}:{digests[file]}" for file in files)
    found = {
        "model_type": str(pretrained.config.model_type),
        "weights": pretrained.digest(),
        "tokenizer": digest_bytes(tokenizer.encode()),
        "adapter": None,
        "dtype": dtype,
    }
    if adapter is not None:
        parts = [file for name in (CONFIG, WEIGHTS) if (file := adapter / name).is_file()]
        found["adapter"] = digest_bytes(" ".join(digest_files(parts).values()).encode())
    return found


def memory_weights(model: Any, tokenizer: Any) -> dict[str, Any]:
    """The same of a model in memory; its adapter is among its weights."""
    state = hashlib.blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        state.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        state.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    spelled = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    return {
        "model_type": str(model.config.model_type),
        "weights": state.hexdigest(),
        "tokenizer": digest_bytes(f"{spelled}{tokenizer.chat_template}".encode()),
        "adapter": None,
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
    }


def folder_identity(
    folder: Path, adapter: Path | None = None, *, dtype: str = "fp32", **asked: Any
) -> dict[str, Any]:
    """What ``LocalTextGenerator.from_folder(...).identity`` says, without loading the model."""
    return {"kind": "local", **folder_weights(folder, adapter, dtype), **asked}
