"""Checkpoints that are whole or not there: written aside, described last, renamed into place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from legorec.data.digest import digest_file

MANIFEST = "manifest.json"
STATE = "state.json"


class CheckpointError(ValueError):
    """A checkpoint that is missing, cut short or altered."""


@dataclass(frozen=True)
class Checkpoint:
    """Named groups of tensors (``weights``, ``optimizer``) and a small JSON state."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]


def save(folder: Path, name: str, checkpoint: Checkpoint) -> Path:
    """Write ``folder/name``; until the last rename nothing of it can be taken for a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / name
    if (final / MANIFEST).is_file():  # a run that was resumed and stopped at once: the same state
        return final
    partial = folder / f"{name}.tmp-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        for group, tensors in checkpoint.tensors.items():
            file = partial / f"{group}.safetensors"
            save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, file)
            _sync(file)
        _write(partial / STATE, json.dumps(checkpoint.state, indent=1, sort_keys=True))
        files = {
            file.name: {"bytes": file.stat().st_size, "blake2b": digest_file(file)}
            for file in sorted(partial.iterdir())
        }
        _write(partial / MANIFEST, json.dumps({"format": 1, "files": files}, indent=1))
        _sync(partial)
        os.replace(partial, final)
        _sync(folder)
        return final
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def load(path: Path) -> Checkpoint:
    """Read a checkpoint back, every byte verified.

    Raises:
        CheckpointError: a file is missing, has another size or another content than when it was written.
    """
    manifest = path / MANIFEST
    if not manifest.is_file():
        raise CheckpointError(f"{path} is not a complete checkpoint: it has no {MANIFEST}")
    files = json.loads(manifest.read_text())["files"]
    for name, fact in files.items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{file} is missing; the checkpoint cannot be used")
        if file.stat().st_size != fact["bytes"]:
            raise CheckpointError(f"{file} was cut short: {file.stat().st_size} of {fact['bytes']} bytes")
        if digest_file(file) != fact["blake2b"]:
            raise CheckpointError(f"{file} was altered since it was written: its digest differs")
    tensors = {
        Path(name).stem: load_file(path / name) for name in files if name.endswith(".safetensors")
    }
    return Checkpoint(tensors=tensors, state=json.loads((path / STATE).read_text()))


def read_state(path: Path) -> Mapping[str, Any]:
    """The state alone, without the tensors."""
    return json.loads((path / STATE).read_text())


def complete(folder: Path) -> list[Path]:
    """Complete checkpoints of a folder, by name; names sort by age (``batch-00001234``)."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if ".tmp-" not in path.name and (path / MANIFEST).is_file())


def prune(folder: Path, keep: set[str]) -> None:
    """Remove what is not named, and what crashed writers left behind."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in keep:
            shutil.rmtree(path, ignore_errors=True)


def _write(file: Path, text: str) -> None:
    file.write_text(text + "\n")
    _sync(file)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
