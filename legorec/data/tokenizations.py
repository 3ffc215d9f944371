"""Another tokenization for an existing store, from the raw texts in it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from legorec.data.layout import StoreError, nearest
from legorec.data.store import Store
from legorec.data.text import TokenizerChoice, vocab_size
from legorec.data.writing.progress import Progress
from legorec.data.writing.tables import write_tokens
from legorec.data.writing.vocabularies import save_tokenizer
from legorec.files.digest import remember
from legorec.files.lock import locked
from legorec.files.manifest import MANIFEST, canonical, fact_of, seal
from legorec.files.whole import save_whole


def add_tokenization(
    path: str | Path, field: str, choice: TokenizerChoice, progress: Progress | None = None
) -> None:
    """Tokenize a text of the items, or else of the users, once more, as the field ``field@name``.

    New files are written first and the manifest is replaced last, so a failure leaves the store unchanged. A
    tokenizer that the store already has is used as it is; a different one of the same name is refused. A lock
    keeps other processes from doing the same, or replacing the store, meanwhile.

    Raises:
        StoreError: there is no such text, or the store already has the tokenization.
        WriteError: the disk is full or not writable.
    """
    with locked(Path(path), wait=True):
        _add(Store.open(path), field, choice, progress or Progress())


def _add(store: Store, field: str, choice: TokenizerChoice, progress: Progress) -> None:
    folder, name = store.path, f"{field}@{choice.name}"
    known = [*store.items.text_names, *store.users.text_names]
    if field not in known:
        raise StoreError(f"{folder}: there is no text '{field}'; {nearest(field, known)}")
    whose, table = ("items", store.items) if field in store.items.text_names else ("users", store.users)
    if name in table.field_names:
        raise StoreError(f"{folder}: the field '{name}' is there already")
    texts = list(table.text(field))
    tokenizer, is_new = _tokenizer(store, choice, texts, table.visible)
    manifest = store.manifest
    new_files = [f"{whose}/{name}.safetensors", *[f"tokenizers/{choice.name}/tokenizer.json"] * is_new]
    with removed_unless_named(folder, new_files):
        fact = write_tokens(folder / whose, field, texts, choice.name, tokenizer, progress)
        if is_new:
            save_tokenizer(folder, choice.name, tokenizer)
        manifest[whose]["fields"].append(fact)
        manifest["tokenizers"][choice.name] = {"size": vocab_size(tokenizer)}
        manifest["made_with"].setdefault("tokenizers", {}).setdefault(choice.name, choice.settings)
        since = time.time_ns()
        facts = {file: fact_of(folder / file) for file in new_files}
        manifest["files"].update(facts)
        save_whole(folder / MANIFEST, canonical(seal(manifest)))
    remember({folder / file: fact["blake2b"] for file, fact in facts.items()}, since)


@contextmanager
def removed_unless_named(folder: Path, files: Sequence[str]) -> Iterator[None]:
    """Remove new files of a store if the block fails before a manifest with them is in place."""
    before = (folder / MANIFEST).read_bytes()
    try:
        yield
    except BaseException:
        if (folder / MANIFEST).read_bytes() == before:
            for file in files:
                (folder / file).unlink(missing_ok=True)
        raise


def _tokenizer(
    store: Store, choice: TokenizerChoice, texts: list[str], seen: np.ndarray
) -> tuple[Tokenizer, bool]:
    """The tokenizer, and whether the store does not have it yet."""
    if choice.name not in store.manifest["tokenizers"]:
        return choice.build(text for text, shown in zip(texts, seen, strict=True) if shown), True
    stored = store.tokenizer(choice.name)
    if choice.folder is not None and choice.build(iter(())).to_str() != stored.to_str():
        raise StoreError(
            f"{store.path}: the store has another tokenizer '{choice.name}'; give this one another name"
        )
    return stored, False
