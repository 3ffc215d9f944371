"""The categories and tokenizers of a store on their way to the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from legorec.data.layout import StoreError
from legorec.data.text import vocab_size
from legorec.data.writing.like import Like
from legorec.files.disk import save_bytes
from legorec.files.manifest import save_json


class Vocabularies:
    """The categories and tokenizers of a store while it is written.

    Args:
        like: an older store, whose vocabularies and tokenizers stay as they are.
    """

    def __init__(self, like: Like | None = None) -> None:
        self.like = like
        self.categories: dict[str, list[str]] = {}
        self.tokenizers: dict[str, Tokenizer] = dict(like.tokenizers) if like else {}
        self.left_out: dict[str, int] = {}  # values that an older store has no category for, by field

    def add(self, name: str, categories: list[str]) -> list[str]:
        """Add a vocabulary of categories; tables may share one if it is the same in both.

        Returns: the vocabulary, which is the old one where there is one.
        """
        if self.like is not None:
            return self.like.store.vocabulary(name)
        if self.categories.setdefault(name, categories) != categories:
            raise StoreError(f"items and users have different vocabularies '{name}'; give one another name")
        return categories

    def of_text(self, table: str, text: str) -> dict[str, Tokenizer]:
        """The tokenizers of a text, by name."""
        if self.like is None:
            return self.tokenizers
        return {name: self.tokenizers[name] for name in self.like.tokenizations(table, text)}

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the files; returns their part of the manifest."""
        if self.like is not None:
            return self.like.write(folder)
        for name, categories in self.categories.items():
            save_json(folder / "vocabularies" / f"{name}.json", categories)
        for name, tokenizer in self.tokenizers.items():
            save_tokenizer(folder, name, tokenizer)
        return {
            "vocabularies": [
                {"name": name, "size": len(categories)} for name, categories in self.categories.items()
            ],
            "tokenizers": {name: {"size": vocab_size(one)} for name, one in self.tokenizers.items()},
        }


def save_tokenizer(folder: Path, name: str, tokenizer: Tokenizer) -> None:
    """Write a tokenizer into a store."""
    path = folder / "tokenizers" / name / "tokenizer.json"
    save_bytes(path, tokenizer.to_str(pretty=True).encode())
