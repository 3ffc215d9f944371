"""The files of a store: arrays in safetensors, mapped on reading, and a manifest of digests written last.

Layout of a store folder:

    manifest.json                   contents, settings they were made with, size and digest of every file
    items/ids.safetensors           raw ids as utf-8 bytes and offsets
    items/visible.safetensors       which items training may see
    items/title.text.safetensors    raw text, so that another tokenization can be added
    items/title@bert.safetensors    token ids and offsets
    items/category.safetensors      values and offsets; no value where none was given
    users/...                       the same for users
    histories.safetensors           clicks (flat) and spans (start, stop)
    interactions/train.safetensors  user, span, candidates and offsets, labels; ids and times if given
    vocabularies/category.json      the categories in the order of their ids
    tokenizers/bert/tokenizer.json  the tokenizer itself
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from legorec.data.digest import digest_bytes, digest_files
from legorec.data.disk import flush, save_bytes, writing

FORMAT, VERSION = "legorec-store", 1
MANIFEST = "manifest.json"
Verify = Literal["size", "digest", "full"]
_NAME = re.compile(r"[^\W-][\w.+-]*(@[\w][\w.+-]*)?")


class StoreError(ValueError):
    """A store, or a request to it, breaks a rule; the message names the file and the rule."""


def check_name(name: str, what: str) -> str:
    """A name that is safe as a file name: letters, digits, ``_ . + -``; no separator, no ``..``."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise StoreError(
            f"{what} '{name}' must consist of letters, digits, '_', '.', '+' and '-', and may not hold '..'"
        )
    return name


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known name, and all known names."""
    known = list(known)
    close = get_close_matches(name, known, n=1)
    listed = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "") if known else "none"
    return (f"did you mean '{close[0]}'? " if close else "") + f"There are: {listed}"


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays into one file and flush it to the disk."""
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with writing(path, sum(array.nbytes for array in whole.values()), "about "):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(whole, path)
        path.chmod(path.parent.stat().st_mode & 0o666)  # the library lets only the owner read its files
        flush(path)


def map_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, read-only and mapped: pages are read when touched and stay backed by the file."""
    from safetensors import safe_open  # through torch, which maps; the numpy reader copies

    try:
        with safe_open(path, framework="pt") as file:
            arrays = {name: file.get_tensor(name).numpy() for name in file.keys()}
    except FileNotFoundError:
        raise StoreError(f"{path}: the file is missing") from None
    except SafetensorError as problem:
        raise StoreError(f"{path}: not a readable safetensors file ({problem})") from None
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def save_json(path: Path, value: Any) -> None:
    """Write JSON in one fixed form and flush it to the disk."""
    save_bytes(path, canonical(value))


def canonical(value: Any) -> bytes:
    """The bytes of a JSON value, the same for equal values."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def refuse_link(path: Path) -> None:
    """Refuse a symbolic link inside a store; the store itself may be reached through one."""
    if path.is_symlink():
        raise StoreError(f"{path}: a symbolic link; the files of a store must be files")


def seal(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with its own digest in it."""
    body = {key: value for key, value in manifest.items() if key != "digest"}
    return body | {"digest": digest_bytes(canonical(body))}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a store, checked against its own digest.

    Raises:
        StoreError: no store, an unfinished one, another format version, or an altered manifest.
    """
    path = folder / MANIFEST
    refuse_link(path)
    if not folder.is_dir():
        raise StoreError(f"{folder}: there is no such folder; write the store with one of process/*.py")
    if not path.is_file():
        rest = "it is not a data store, or writing it was interrupted (the manifest is written last)"
        raise StoreError(f"{path}: the file is missing; {rest}")
    try:
        manifest = json.loads(path.read_bytes())
    except ValueError as problem:
        raise StoreError(f"{path}: not readable as JSON ({problem})") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"{path}: `format` must be '{FORMAT}'; this is not a data store")
    if manifest.get("version") != VERSION:
        raise StoreError(
            f"{path}: format version {manifest.get('version')!r} is unknown, this program reads {VERSION}; "
            "process the data again"
        )
    if seal(manifest)["digest"] != manifest.get("digest"):
        raise StoreError(f"{path}: the manifest was altered (its digest differs); process the data again")
    return manifest


def refuse_replaced(folder: Path, facts: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> None:
    """Refuse a store whose files were replaced since its manifest was read.

    Raises:
        StoreError: the store was replaced.
    """
    now = read_manifest(folder)["files"]
    if any(now.get(name) != facts[name] for name in names):
        raise StoreError(f"{folder}: the store was replaced while it was in use; start again")


def verify_files(folder: Path, facts: Mapping[str, Mapping[str, Any]], verify: Verify) -> None:
    """Compare every file of a store with its size and digest in the manifest."""
    if verify not in ("size", "digest", "full"):
        raise StoreError(f"`verify` must be size, digest or full, got '{verify}'")
    paths = {}
    for name, fact in facts.items():
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise StoreError(f"{folder / MANIFEST}: the file name '{name}' leaves the store")
        path = folder / pure
        for part in (path, *path.parents[: len(pure.parts) - 1]):
            refuse_link(part)
        if not path.is_file():
            raise StoreError(f"{path}: the file is missing; process the data again")
        if (size := path.stat().st_size) != fact["bytes"]:
            raise StoreError(
                f"{path}: it has {size:,} bytes, the manifest says {fact['bytes']:,}; process the data again"
            )
        paths[path] = fact["blake2b"]
    if verify == "size":
        return
    found = digest_files(paths, remembered=verify == "digest")
    for path, digest in paths.items():
        if found[path] != digest:
            raise StoreError(
                f"{path}: its content was altered (digest {found[path][:8]}.., the manifest says "
                f"{digest[:8]}..); process the data again"
            )
