"""Reading a data store: items, users, histories and interactions as mapped arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from legorec.data.interactions import Interactions
from legorec.data.layout import (
    StoreError,
    check_name,
    map_arrays,
    nearest,
    read_manifest,
    refuse_replaced,
    verify_files,
)
from legorec.data.ragged import Ragged
from legorec.data.table import Field, Table, rows_of, strings_of
from legorec.files.json_text import parse_json
from legorec.files.manifest import MANIFEST, Verify

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Field", "Interactions", "Store", "StoreError", "Table", "rows_of"]

Content = TypeVar("Content")


class Store:
    """A folder written by ``process/*.py``. Opening reads the manifest; arrays are mapped on first use.

    A copy is the store itself, which is read and never changed. A pickle names the folder, where the store is
    opened again.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self.items = Table(path / "items", manifest["items"], self._map)
        self.users = Table(path / "users", manifest["users"], self._map)
        self._interactions: dict[str, Interactions] = {}

    @classmethod
    def open(cls, path: str | Path, verify: Verify = "digest") -> Self:
        """Open a store and compare its files with the manifest.

        Args:
            verify: ``digest`` compares sizes and digests; the digest of a file is remembered while its size,
                times and inode do not change. ``full`` reads every file again; ``size`` compares only sizes.

        Raises:
            StoreError: a file breaks a rule; the message names both.
        """
        folder = Path(path)
        manifest = read_manifest(folder)
        try:
            verify_files(folder, manifest["files"], verify)
        except (StoreError, FileNotFoundError):
            refuse_replaced(folder, manifest["files"], manifest["files"])
            raise
        _check_parts(folder / MANIFEST, manifest)
        return cls(folder, manifest)

    def __repr__(self) -> str:
        return (
            f"Store({str(self.path)!r}: {len(self.items):,} items, {len(self.users):,} users, "
            + ", ".join(f"{name} {fact['count']:,}" for name, fact in self.manifest["interactions"].items())
            + ")"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Store:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.path.resolve(), self.digest)

    def _map(self, path: Path) -> dict[str, np.ndarray]:
        return self._checked(path, map_arrays(path))

    def _checked(self, path: Path, content: Content) -> Content:
        # After reading: once replaced, a store does not come back.
        refuse_replaced(self.path, self.manifest["files"], [path.relative_to(self.path).as_posix()])
        return content

    @property
    def digest(self) -> str:
        """The digest of the manifest, which holds the digest of every file."""
        return str(self.manifest["digest"])

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the interaction tables."""
        order = {"train": 0, "dev": 1, "test": 2}
        return tuple(sorted(self.manifest["interactions"], key=lambda name: (order.get(name, 3), name)))

    @cached_property
    def _histories(self) -> dict[str, np.ndarray]:
        return self._map(self.path / "histories.safetensors")

    @property
    def histories(self) -> np.ndarray:
        """int32 item rows of all clicks, oldest first, user by user."""
        return self._histories["clicks"]

    @property
    def spans(self) -> np.ndarray:
        """(S, 2) int64, start and stop in ``histories``: the distinct histories of each user."""
        return self._histories["spans"]

    @property
    def longest_history(self) -> int:
        """The clicks of the longest history; a store of items alone notes those that were left out."""
        noted = self.manifest["histories"].get("longest")
        return int((self.spans[:, 1] - self.spans[:, 0]).max(initial=0) if noted is None else noted)

    @property
    def marks(self) -> np.ndarray | None:
        """uint8, what is known of each click of ``histories``: a place in ``mark_names``; None: nothing."""
        return self._histories.get("marks")

    @property
    def mark_names(self) -> tuple[str, ...]:
        """What the marks of clicks mean, such as ``disliked`` and ``liked``."""
        return tuple(self.manifest["histories"].get("marks", ()))

    def interactions(self, split: str) -> Interactions:
        """The impressions of a split."""
        if split not in self.manifest["interactions"]:
            raise StoreError(f"{self.path}: there is no split '{split}'; {nearest(split, self.splits)}")
        if split not in self._interactions:
            arrays = self._map(self.path / "interactions" / f"{split}.safetensors")
            self._interactions[split] = Interactions(
                user=arrays["user"],
                span=arrays["span"],
                candidates=Ragged(arrays["candidates"], arrays["candidates.offsets"]),
                labels=arrays["labels"],
                ids=strings_of(arrays, "ids.") if "ids.values" in arrays else None,
                time=arrays.get("time"),
                labelled=self.manifest["interactions"][split]["labelled"],
            )
        return self._interactions[split]

    def vocabulary(self, name: str) -> list[str]:
        """The categories of a vocabulary, in the order of their ids."""
        known = [part["name"] for part in self.manifest["vocabularies"]]
        if name not in known:
            raise StoreError(f"{self.path}: there is no vocabulary '{name}'; {nearest(name, known)}")
        path = self.path / "vocabularies" / f"{name}.json"
        return self._checked(path, parse_json(path.read_bytes()))

    def tokenizer(self, name: str) -> Tokenizer:
        """A tokenizer by the name after the ``@`` of its fields."""
        from tokenizers import Tokenizer

        if name not in self.manifest["tokenizers"]:
            known = self.manifest["tokenizers"]
            raise StoreError(f"{self.path}: there is no tokenizer '{name}'; {nearest(name, known)}")
        path = self.path / "tokenizers" / name / "tokenizer.json"
        return self._checked(path, Tokenizer.from_file(str(path)))

    def require(
        self,
        fields: Iterable[str] = (),
        made_with: Mapping[str, Any] | None = None,
        splits: Iterable[str] = (),
        user_fields: Iterable[str] = (),
    ) -> None:
        """Refuse a store that lacks something or was made with other settings, with all problems at once."""
        problems = []
        wanted = [
            ("item field", fields, self.items.field_names),
            ("user field", user_fields, self.users.field_names),
            ("split", splits, self.splits),
        ]
        for what, names, known in wanted:
            problems += [f"{what} '{n}' is not there; {nearest(n, known)}" for n in names if n not in known]
        there = self.manifest["made_with"]
        for key, value in (made_with or {}).items():
            if key not in there:
                problems.append(f"it was not made with a setting `{key}`; {nearest(key, there)}")
            elif there[key] != value:
                problems.append(f"it was made with `{key}` = {there[key]!r}, requested is {value!r}")
        if problems:
            raise StoreError(f"{self.path / MANIFEST}: " + "; ".join(problems))


def _again(path: Path, digest: str) -> Store:
    """The store of a pickle."""
    store = Store.open(path)
    if store.digest != digest:
        raise StoreError(f"{path}: the store was replaced since this was pickled; load it from its run again")
    return store


def _check_parts(path: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse a manifest that names a part outside the store, or has no digest of a part's file."""
    try:
        unknown = [name for name in _files(manifest) if name not in manifest["files"]]
    except StoreError as problem:
        raise StoreError(f"{path}: {problem}") from None
    if unknown:
        raise StoreError(
            f"{path}: it has no digest of '{unknown[0]}', a part of the store; process the data again"
        )


def _files(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Every file that the named parts of a store are read from."""
    yield "histories.safetensors"
    for table in ("items", "users"):
        facts = manifest[table]
        names = ["ids", "visible"] if facts["visible"] else ["ids"]
        names += [part["name"] for part in facts["fields"]] + [f"{name}.text" for name in facts["texts"]]
        yield from (f"{table}/{check_name(name, 'field')}.safetensors" for name in names)
    for split in manifest["interactions"]:
        yield f"interactions/{check_name(split, 'split')}.safetensors"
    for part in manifest["vocabularies"]:
        yield f"vocabularies/{check_name(part['name'], 'vocabulary')}.json"
    for name in manifest["tokenizers"]:
        yield f"tokenizers/{check_name(name, 'tokenizer')}/tokenizer.json"
