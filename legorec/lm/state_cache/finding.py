"""Finding the cache that was asked for, or saying why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from legorec.files.manifest import MANIFEST, Refusal, read_sealed
from legorec.lm.state_cache.identity import CacheError, CacheIdentity

IDENTITY = "identity.json"
KIND = "legorec-states"
_SHOWN = 24  # characters of a value in a message


def find(root: Path, wanted: CacheIdentity) -> dict[str, Any]:
    """The manifest of the cache of this identity.

    Raises:
        CacheError: there is none, it is unfinished, it was altered, or it is of another identity.
    """
    folder = root / wanted.folder_name
    finished = (folder / MANIFEST).is_file()
    path = folder / (MANIFEST if finished else IDENTITY)
    if not path.is_file():
        raise CacheError(_absent(root, wanted))
    way_out = f"remove {'that file' if finished else folder} and start the cache run again"
    content = read_plan(path, way_out)
    found = identity_in(content, path, way_out)
    if found != wanted:
        raise CacheError(f"{folder}: this cache is of another content: {_named(wanted, found)}; {_OTHERWISE}")
    if not finished:
        done, total = len(list(folder.glob("shard-*.safetensors"))), len(content["shards"])
        raise CacheError(
            f"{folder}: this cache is unfinished ({done} of {total} shards); "
            "start the cache run again, it goes on from there"
        )
    return content


def read_plan(path: Path, way_out: str) -> dict[str, Any]:
    """The content of ``identity.json`` or ``manifest.json``.

    Raises:
        CacheError: it is not readable, or was altered.
    """
    return read_sealed(path, KIND, Refusal("a cache of hidden states", CacheError, way_out))


def identity_in(content: dict[str, Any], path: Path, way_out: str) -> CacheIdentity:
    """The identity in a sealed file."""
    values = content.get("identity")
    if not isinstance(values, dict) or values.keys() != {part.name for part in fields(CacheIdentity)}:
        raise CacheError(f"{path}: written by another version of this program; {way_out}")
    return CacheIdentity(**values)


FIRST_RUN = (
    "write it with the same command, --layer 0 and --exp config/exp/llama-split.yaml or bert-split.yaml"
)
_OTHERWISE = "start the cache run with these settings, or read with those of the cache"


def _absent(root: Path, wanted: CacheIdentity) -> str:
    """What to say where this cache was never begun."""
    there = list(_caches(root))
    if not there:
        return f"{root}: there is no cache of hidden states; {FIRST_RUN}"
    same_depth = [identity for identity, _ in there if identity.depth == wanted.depth]
    if same_depth:
        # The nearest first: what differs least is most likely what was meant.
        same_depth.sort(key=lambda identity: len(wanted.differences(identity)))
        named = "; or ".join(_named(wanted, identity) for identity in same_depth[:3])
        return f"{root}: the cache at depth {wanted.depth} is of another content: {named}; {_OTHERWISE}"
    listed = ", ".join(_listed(identity, wanted, done) for identity, done in there[:20])
    return (
        f"{root}: there is no cache at `depth` {wanted.depth}; there are: {listed}; "
        f"{FIRST_RUN}, and depth {wanted.depth} among `exp.cache.layers`"
    )


def _caches(root: Path) -> Iterator[tuple[CacheIdentity, bool]]:
    """Identity of every cache below a root, the shallow ones first, and whether it is finished."""
    found = []
    for path in root.glob(f"depth-*/{IDENTITY}"):
        try:
            identity = identity_in(read_plan(path, ""), path, "")
        except CacheError:
            continue  # it cannot be what was asked for, and says so to the one who asks for it
        found.append((identity, (path.parent / MANIFEST).is_file()))
    yield from sorted(found, key=lambda each: (each[0].depth, each[0].folder_name))


def _listed(found: CacheIdentity, wanted: CacheIdentity, done: bool) -> str:
    others = [f"`{name}`" for name, *_ in wanted.differences(found) if name not in ("depth", "dtype")]
    notes = [
        found.dtype,
        *([f"other {' and '.join(others)}"] if others else []),
        *([] if done else ["unfinished"]),
    ]
    return f"{found.depth} ({', '.join(notes)})"


def _named(wanted: CacheIdentity, found: CacheIdentity) -> str:
    """Each field that differs, with both values."""
    parts = []
    for name, mine, theirs in wanted.differences(found):
        here, there = _shortened(mine, theirs)
        parts.append(f"`{name}` is {there} in the cache, {here} was asked for")
    return ", ".join(parts)


def _shortened(one: Any, other: Any) -> tuple[str, str]:
    """Two values that differ, cut to where they do."""
    if not isinstance(one, str) or not isinstance(other, str) or max(len(one), len(other)) <= _SHOWN:
        return repr(one), repr(other)
    pairs = zip(one, other, strict=False)
    same = next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
    start = max(0, same - 8)
    shown = []
    for text in (one, other):
        part = text[start : start + _SHOWN - 8]
        shown.append(repr((".." if start else "") + part + (".." if start + len(part) < len(text) else "")))
    return shown[0], shown[1]
