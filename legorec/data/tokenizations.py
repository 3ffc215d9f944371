"""Another tokenization for a store that is there, from the raw texts kept in it."""

from __future__ import annotations

import os
from pathlib import Path

from tokenizers import Tokenizer

from legorec.data.digest import digest_file, remember
from legorec.data.files import MANIFEST, StoreError, flush, nearest, save_json, seal
from legorec.data.store import Store
from legorec.data.text import TokenizerChoice, vocab_size
from legorec.data.writing.progress import Progress
from legorec.data.writing.tables import save_tokenizer, write_tokens


def add_tokenization(
    path: str | Path, field: str, choice: TokenizerChoice, progress: Progress | None = None
) -> None:
    """Tokenize an item text of a store once more; the store then also has the field ``field@name``.

    New files are written first and the manifest is replaced last, so an interruption leaves the store as it
    was. A tokenizer that the store has already is used as it is there; another one of the same name is
    refused.

    Raises:
        StoreError: there is no such text, or the store has the tokenization.
    """
    store = Store.open(path)
    name = f"{field}@{choice.name}"
    if field not in store.items.text_names:
        raise StoreError(f"{path}: there is no text '{field}'; {nearest(field, store.items.text_names)}")
    if name in store.items.field_names:
        raise StoreError(f"{path}: the field '{name}' is there already")
    texts = list(store.items.text(field))
    tokenizer, is_new = _tokenizer(store, choice, texts)
    folder = store.path
    progress = progress or Progress()
    fact = write_tokens(folder / "items", field, texts, choice.name, tokenizer, progress)
    new_files = [f"items/{name}.safetensors"]
    if is_new:
        save_tokenizer(folder, choice.name, tokenizer)
        new_files.append(f"tokenizers/{choice.name}/tokenizer.json")
    manifest = store.manifest
    manifest["items"]["fields"].append(fact)
    manifest["tokenizers"][choice.name] = {"size": vocab_size(tokenizer)}
    manifest["made_with"].setdefault("tokenizers", {}).setdefault(choice.name, choice.settings)
    digests = {file: digest_file(folder / file) for file in new_files}
    for file, digest in digests.items():
        manifest["files"][file] = {"bytes": (folder / file).stat().st_size, "blake2b": digest}
    save_json(folder / f"{MANIFEST}.tmp", seal(manifest))
    os.replace(folder / f"{MANIFEST}.tmp", folder / MANIFEST)
    flush(folder)
    remember({folder / file: digest for file, digest in digests.items()})


def _tokenizer(store: Store, choice: TokenizerChoice, texts: list[str]) -> tuple[Tokenizer, bool]:
    """The tokenizer, and whether the store does not have it yet."""
    if choice.name not in store.manifest["tokenizers"]:
        seen = store.items.visible
        return choice.build(text for text, shown in zip(texts, seen, strict=True) if shown), True
    stored = store.tokenizer(choice.name)
    if choice.folder is not None and choice.build(iter(())).to_str() != stored.to_str():
        raise StoreError(
            f"{store.path}: the store has another tokenizer '{choice.name}'; give this one another name"
        )
    return stored, False
