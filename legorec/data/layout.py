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

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from legorec.files.digest import digest_files
from legorec.files.disk import flush, share, writing
from legorec.files.manifest import (
    MANIFEST,
    Fact,
    Refusal,
    Verify,
    check_digests,
    check_sizes,
    check_verify,
    leads_out,
    read_sealed,
    refuse_link,
)

FORMAT, VERSION = "legorec-store", 1
_NAME = re.compile(r"[^\W-][\w.+-]*(@[\w][\w.+-]*)?")


class StoreError(ValueError):
    """A store, or a request to it, breaks a rule; the message names the file and the rule."""


REFUSAL = Refusal("a data store", StoreError, "process the data again")


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
        share(path)
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


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a store, checked against its own digest.

    Raises:
        StoreError: no store, an unfinished one, another format version, or an altered manifest.
    """
    path = folder / MANIFEST
    refuse_link(path, REFUSAL)
    if not folder.is_dir():
        raise StoreError(f"{folder}: there is no such folder; write the store with one of process/*.py")
    if not path.is_file():
        rest = "it is not a data store, or writing it was interrupted (the manifest is written last)"
        raise StoreError(f"{path}: the file is missing; {rest}")
    return read_sealed(path, FORMAT, REFUSAL, VERSION)


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
    check_verify(verify, StoreError)
    noted: dict[Path, Fact] = {}
    for name, fact in facts.items():
        if leads_out(name):
            raise StoreError(f"{folder / MANIFEST}: the file name '{name}' leaves the store")
        path = folder / name
        for within in path.parents[: len(PurePosixPath(name).parts) - 1]:
            refuse_link(within, REFUSAL)
        noted[path] = fact
    check_sizes(noted, REFUSAL)
    if verify != "size":
        check_digests(noted, digest_files(noted, remembered=verify == "digest"), REFUSAL)
