"""What a store that is made like an older one keeps of it, so that the models of that one can read it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from legorec.data.layout import StoreError
from legorec.data.number_scale import NumberScale
from legorec.data.store import Field, Store, Table
from legorec.data.text import TokenizerChoice
from legorec.data.writing.columns import Column
from legorec.files.disk import writing


class Like:
    """Tokenizers, vocabularies, how numbers are scaled, and which fields there are, of an older store.

    Tokenizers and vocabularies stay to the byte: a word that they lack is ``[UNK]``, a category that they
    lack is left out and counted. So every id, and every digest that a model was trained with, stays too.

    Args:
        store: the older one.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.tokenizers = {name: store.tokenizer(name) for name in store.manifest["tokenizers"]}
        self.described: Mapping[str, Any] = store.manifest["made_with"].get("tokenizers", {})

    @classmethod
    def open(cls, store: Store | str | Path) -> Like:
        """That of a store, which is opened and held against its digests.

        Raises:
            StoreError: the folder is no store, or was altered.
        """
        if isinstance(store, Store):
            return cls(store)
        try:
            return cls(Store.open(store))
        except StoreError as problem:
            raise StoreError(f"the store to be like: {problem}") from None

    def check_tokenizers(self, choices: Sequence[TokenizerChoice]) -> None:
        """Raises StoreError: one is not among the old ones, or is another one of that name."""
        for choice in choices:
            there, asked = self.described.get(choice.name), choice.settings
            if there != asked:
                has = f"has {_said(there)}" if there else f"has {', '.join(self.tokenizers) or 'none'}"
                raise StoreError(
                    f"tokenizer '{choice.name}' ({_said(asked)}) is none of {self.store.path}, which {has}; "
                    "a store that is made like another keeps its tokenizers, so name none"
                )

    def table(self, name: str) -> Table:
        """The old items or users."""
        return self.store.items if name == "items" else self.store.users

    def columns(self, name: str) -> list[Column]:
        """The old fields, each read from the column that is called as it is."""
        table, found = self.table(name), []
        for each in table.text_names:
            found.append(Column(each, "text"))
        for field in self._plain(table):
            found.append(Column(field.name, field.kind, vocabulary=field.vocabulary))
        return found

    def _plain(self, table: Table) -> list[Field]:
        """The fields that are no text."""
        return [field for field in map(table.field, table.field_names) if field.kind != "text"]

    def check_columns(self, name: str, columns: Sequence[Column], label: str) -> None:
        """Check that the fields of a table are the old ones, in any order.

        Args:
            label: of the table, for messages.
        Raises:
            StoreError: there is one more or one less, one is of another kind, or is tokenized already.
        """
        there, here = _kinds(self.columns(name)), _kinds(columns)
        if there != here:
            differ = [each for each in (*there, *here) if there.get(each) != here.get(each)]
            raise StoreError(
                f"{label}: its fields are {_listed(here)}, those of {self.store.path} are {_listed(there)} "
                f"('{differ[0]}' differs); a store that is made like another has the same fields"
            )
        for column in columns:
            if column.tokens is not None:
                raise StoreError(
                    f"{label}: '{column.name}' is tokenized already, and a store that is made like another "
                    "is tokenized as that one"
                )

    def tokenizations(self, name: str, text: str) -> list[str]:
        """By which tokenizers an old text was tokenized."""
        whole = [each.partition("@") for each in self.table(name).field_names if "@" in each]
        return [tokenizer for field, _, tokenizer in whole if field == text]

    def in_order(self, name: str, facts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The entries of fields, in the order that the old ones have."""
        places = {each: place for place, each in enumerate(self.table(name).field_names)}
        return sorted(facts, key=lambda fact: places[fact["name"]])

    def scale(self, name: str, field: str) -> NumberScale:
        """How an old field of numbers lies."""
        found = self.table(name).field(field)
        return found.scale or NumberScale.of(found.rows.values)

    def write(self, folder: Path) -> dict[str, Any]:
        """Copy the files; returns their part of the manifest."""
        manifest = self.store.manifest
        names = [f"vocabularies/{part['name']}.json" for part in manifest["vocabularies"]]
        names += [f"tokenizers/{name}/tokenizer.json" for name in manifest["tokenizers"]]
        for name in names:
            source, target = self.store.path / name, folder / name
            with writing(target, source.stat().st_size):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        return {key: manifest[key] for key in ("vocabularies", "tokenizers")}


def _kinds(columns: Sequence[Column]) -> dict[str, tuple[str, str]]:
    """Kind and vocabulary by name."""
    plain = ("text", "number")
    return {
        each.name: (each.kind, "" if each.kind in plain else each.vocabulary or each.name) for each in columns
    }


def _listed(kinds: Mapping[str, tuple[str, str]]) -> str:
    return ", ".join(f"{name} ({kind})" for name, (kind, _) in kinds.items()) or "none"


def _said(settings: Mapping[str, Any]) -> str:
    """Settings of a tokenizer, in words."""
    return ", ".join(f"{key} {value}" for key, value in sorted(settings.items()) if value is not None)
