"""Checkpoints appear whole or not at all: written to a temporary folder, then renamed."""

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

from legorec.files.digest import digest_file
from legorec.files.disk import flush
from legorec.files.json_text import parse_json
from legorec.files.manifest import (
    MANIFEST,
    Fact,
    Refusal,
    check_digests,
    check_sizes,
    fact_of,
    is_plain,
    refuse_link,
)
from legorec.files.whole import folder_whole

STATE = "state.json"
FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint that is missing, cut short or altered."""


REFUSAL = Refusal("a checkpoint", CheckpointError, if_missing="the checkpoint cannot be used")


@dataclass(frozen=True)
class Checkpoint:
    """Named groups of tensors (``weights``, ``optimizer``) and a small JSON state."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]


def save(folder: Path, name: str, checkpoint: Checkpoint) -> Path:
    """Write ``folder/name``; until the last rename nothing of it can be taken for a checkpoint.

    A complete checkpoint of that name is left as it is: a name says how far training has come, so equal names
    mean equal content.

    Raises:
        WriteError: the disk is full, or may not be written.
    """
    final = folder / name
    if (final / MANIFEST).is_file():  # a run that was resumed and stopped at once
        return final
    size = sum(value.nbytes for tensors in checkpoint.tensors.values() for value in tensors.values())
    with folder_whole(final, size, "about ", then="; what was saved before is untouched") as partial:
        _write(partial, checkpoint)
        shutil.rmtree(final, ignore_errors=True)  # the rest of one whose removal was cut short
    return final


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the files, the manifest last."""
    for group, tensors in checkpoint.tensors.items():
        file = folder / f"{group}.safetensors"
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, file)
        flush(file)
    _write_text(folder / STATE, json.dumps(checkpoint.state, indent=1, sort_keys=True))
    files = {file.name: fact_of(file) for file in sorted(folder.iterdir())}
    _write_text(folder / MANIFEST, json.dumps({"format": FORMAT, "files": files}, indent=1))
    flush(folder)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint back, every byte verified.

    Raises:
        CheckpointError: a file is missing, has another size or another content than when it was written.
    """
    facts = _facts(path)
    _verify({named(path, name): fact for name, fact in facts.items()})
    tensors = {Path(name).stem: load_file(path / name) for name in facts if name.endswith(".safetensors")}
    return Checkpoint(tensors=tensors, state=parse_json((path / STATE).read_text()))


def read_state(path: Path) -> Mapping[str, Any]:
    """Read the state alone, without the tensors.

    Raises:
        CheckpointError: its file is missing or was altered.
    """
    _verify({path / STATE: _facts(path)[STATE]})
    return parse_json((path / STATE).read_text())


def weights_digest(path: Path) -> str:
    """The digest of the file of weights of a checkpoint."""
    return str(_facts(path)["weights.safetensors"]["blake2b"])


def _facts(path: Path) -> dict[str, Fact]:
    """Size and digest of every file of a checkpoint."""
    manifest = path / MANIFEST
    refuse_link(manifest, REFUSAL)
    if not manifest.is_file():
        raise CheckpointError(f"{path} is not a complete checkpoint: it has no {MANIFEST}")
    try:
        content = parse_json(manifest.read_text())
        facts: dict[str, Fact] = {
            name: {"bytes": int(fact["bytes"]), "blake2b": str(fact["blake2b"])}
            for name, fact in content["files"].items()
        }
        if content["format"] != FORMAT or STATE not in facts:
            raise ValueError(f"format {content['format']} with {', '.join(facts)}")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{manifest} was altered, or written by another version: {error!r}") from error
    return facts


def _verify(facts: Mapping[Path, Fact]) -> None:
    """Hold files against size and digest; every byte is read."""
    check_sizes(facts, REFUSAL)
    check_digests(facts, {file: digest_file(file) for file in facts}, REFUSAL)


def named(folder: Path, name: str) -> Path:
    """The file or folder that a manifest or a state names.

    Raises:
        CheckpointError: the name leads out of the folder.
    """
    if not is_plain(name):
        raise CheckpointError(f"{folder}: a file there names '{name}', which leads out of the folder")
    return folder / name


def complete(folder: Path) -> list[Path]:
    """Complete checkpoints of a folder, by name; names sort by age (``batch-00001234``)."""
    if not folder.is_dir():
        return []
    whole = (path for path in folder.iterdir() if not _left_over(path.name) and (path / MANIFEST).is_file())
    return sorted(whole)


def _left_over(name: str) -> bool:
    """Whether a folder is one that a killed writer left, see ``folder_whole``."""
    return ".tmp-" in name or ".old-" in name


def newest(folder: Path) -> Path | None:
    """The newest checkpoint of a folder, if there is one.

    Raises:
        CheckpointError: it is not complete, though none is put in its place before it is.
    """
    whole = complete(folder)
    names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    last = max((name for name in names if not _left_over(name)), default=None)
    if last is not None and (not whole or whole[-1].name != last):
        raise CheckpointError(f"{folder / last} was altered: it has no {MANIFEST}; {way_out(folder / last)}")
    return whole[-1] if whole else None


def way_out(path: Path) -> str:
    """Advice for a damaged checkpoint."""
    older = [each.name for each in complete(path.parent) if each.name < path.name]
    return f"remove {path.name} to " + (f"go on from {older[-1]}" if older else "start anew")


def prune(folder: Path, keep: set[str]) -> None:
    """Remove checkpoints that are not in ``keep``, and what crashed writers left.

    Each is renamed first, so that one whose removal is cut short is known for what it is.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in keep and path.is_dir() and not path.is_symlink():
            going = path if _left_over(path.name) else path.with_name(f"{path.name}.old-{os.getpid()}")
            if going != path:
                os.replace(path, going)
            shutil.rmtree(going, ignore_errors=True)


def size(path: Path) -> int:
    """Bytes of a checkpoint on disk."""
    return sum(fact["bytes"] for fact in _facts(path).values())


def _write_text(file: Path, text: str) -> None:
    file.write_text(text + "\n")
    flush(file)
