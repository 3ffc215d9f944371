"""Safetensors files that tell whether they are as they were written: a digest stands in their header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from legorec.files.manifest import canonical

SEAL = "legorec.digest"


def save_sealed(tensors: Mapping[str, Tensor], path: Path, said: Mapping[str, str]) -> None:
    """Write tensors, what is said of them, and the digest of both; the same content gives the same bytes."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(whole, path, metadata={**said, SEAL: _digest(whole, said)})
    with open(path, "r+b") as file:  # the library writes what is said in another order each time
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
        assert len(text) == size, "the same text in another order"
        file.seek(8)
        file.write(text)


def load_sealed(path: Path, verify: bool = True) -> dict[str, Tensor]:
    """The tensors of a file, mapped where that can be; of one without a digest, as others write it, too.

    Args:
        verify: False reads no values.

    Raises:
        ValueError: it cannot be read, or was altered since it was written.
    """
    try:
        tensors = load_file(path)
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
    except SafetensorError as problem:
        raise ValueError(f"{path} cannot be read: {problem}") from None
    sealed = said.pop(SEAL, None)
    if verify and sealed is not None and sealed != _digest(tensors, said):
        raise ValueError(f"{path} was altered since it was written (its digest differs); write it again")
    return tensors


def _digest(tensors: Mapping[str, Tensor], said: Mapping[str, str]) -> str:
    state = hashlib.blake2b(digest_size=16)
    shapes = {name: [str(tensor.dtype), *tensor.shape] for name, tensor in tensors.items()}
    state.update(canonical([shapes, dict(said)]))
    for name in sorted(tensors):
        state.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()
