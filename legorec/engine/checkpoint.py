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
FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint that is missing, cut short or altered."""


@dataclass(frozen=True)
class Checkpoint:
    """Named groups of tensors (``weights``, ``optimizer``) and a small JSON state."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]


def save(folder: Path, name: str, checkpoint: Checkpoint) -> Path:
    """Write ``folder/name``; until the last rename nothing of it can be taken for a checkpoint.

    A complete checkpoint of that name is left as it is: names say how far training is, and that says it all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / name
    if (final / MANIFEST).is_file():  # a run that was resumed and stopped at once
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
        _write(partial / MANIFEST, json.dumps({"format": FORMAT, "files": files}, indent=1))
        _sync(partial)
        shutil.rmtree(final, ignore_errors=True)  # the rest of one whose removal was cut short
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
    facts = _facts(path)
    for name in facts:
        _verify(path / name, facts[name])
    tensors = {Path(name).stem: load_file(path / name) for name in facts if name.endswith(".safetensors")}
    return Checkpoint(tensors=tensors, state=json.loads((path / STATE).read_text()))


def read_state(path: Path) -> Mapping[str, Any]:
    """The state alone, without the tensors.

    Raises:
        CheckpointError: its file is missing or was altered.
    """
    _verify(path / STATE, _facts(path)[STATE])
    return json.loads((path / STATE).read_text())


def _facts(path: Path) -> dict[str, tuple[int, str]]:
    """Size and digest of every file of a checkpoint."""
    manifest = path / MANIFEST
    if not manifest.is_file():
        raise CheckpointError(f"{path} is not a complete checkpoint: it has no {MANIFEST}")
    try:
        content = json.loads(manifest.read_text())
        facts = {name: (int(fact["bytes"]), str(fact["blake2b"])) for name, fact in content["files"].items()}
        if content["format"] != FORMAT or STATE not in facts:
            raise ValueError(f"format {content['format']} with {', '.join(facts)}")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{manifest} was altered, or written by another version: {error!r}") from error
    return facts


def _verify(file: Path, fact: tuple[int, str]) -> None:
    size, digest = fact
    if not file.is_file():
        raise CheckpointError(f"{file} is missing; the checkpoint cannot be used")
    if file.stat().st_size != size:
        raise CheckpointError(
            f"{file} was cut short or altered: {file.stat().st_size} bytes instead of {size}"
        )
    if digest_file(file) != digest:
        raise CheckpointError(f"{file} was altered since it was written: its digest differs")


def complete(folder: Path) -> list[Path]:
    """Complete checkpoints of a folder, by name; names sort by age (``batch-00001234``)."""
    if not folder.is_dir():
        return []
    whole = (path for path in folder.iterdir() if ".tmp-" not in path.name and (path / MANIFEST).is_file())
    return sorted(whole)


def prune(folder: Path, keep: set[str]) -> None:
    """Remove what is not named, and what crashed writers left behind."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in keep and path.is_dir() and not path.is_symlink():
            # First, so that one whose removal is cut short does not pass for complete.
            (path / MANIFEST).unlink(missing_ok=True)
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
