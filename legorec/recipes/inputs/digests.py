"""Digests of all that a recommender learns from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from legorec import registry
from legorec.data.catalog import columns
from legorec.data.item_text import stored_field
from legorec.data.store import Field
from legorec.engine.weights import LANGUAGE_MODEL
from legorec.files.digest import digest_files
from legorec.recipes.inputs.store_data import Data

if TYPE_CHECKING:
    from legorec.settings import Settings

BRICKS = tuple(registry.NUM_TENSORS)
ITEM_IDS, USER_IDS = "items/ids.safetensors", "users/ids.safetensors"
CODES = "embed/.codes"  # no vocabulary is called so


def input_digests(settings: Settings, data: Data) -> dict[str, str]:
    """Digests of all that training reads: files of the store, given tables as ``embed/<vocabulary>``, the
    language model as ``language model``."""
    return data_digests(settings, data, _fields(data), users=_reads_users(settings))


def data_digests(
    settings: Settings,
    data: Data,
    fields: Sequence[Field],
    users: bool,
    user_fields: Sequence[Field] = (),
) -> dict[str, str]:
    """``input_digests`` of a model of any family.

    Args:
        fields: of the items, that it reads.
        users: whether it knows users by their rows.
        user_fields: of the users, that it reads beside those of ``data.user_fields``.
    """
    store = data.store
    names = [ITEM_IDS, "histories.safetensors"]
    if users:
        names.append(USER_IDS)
    profiles = [data.store.users.field(name) for name in columns(settings.data.user_fields)]
    for table, read in (("items", fields), ("users", [*profiles, *user_fields])):
        for field in read:
            vocabulary = f"tokenizers/{field.vocabulary}/tokenizer.json"
            names += [f"{table}/{field.name}.safetensors"]
            if field.kind != "number":
                names += [vocabulary if field.kind == "text" else f"vocabularies/{field.vocabulary}.json"]
    for split in (settings.data.splits.train, settings.data.splits.dev):
        names += [f"interactions/{split}.safetensors"] if split in store.splits else []
    facts = store.manifest["files"]
    tables = {table.owner: Path(table.path) for table in settings.embed.tables}
    if settings.embed.codes is not None:
        tables[CODES.removeprefix("embed/")] = Path(settings.embed.codes.path)
    digests = digest_files(tables.values())
    found = {name: facts[name]["blake2b"] for name in names}
    found |= {f"embed/{vocabulary}": digests[path] for vocabulary, path in tables.items()}
    profiled = [] if data.profiles is None else [("users", data.profiles)]
    for table, catalog in (*(("items", each) for each in data.catalogs), *profiled):
        for part in catalog.fields:
            if part.kind == "number":
                found[f"numbers/{table}/{part.name}"] = f"mean {part.mean!r}, deviation {part.deviation!r}"
    found |= _filters(settings, data)
    if data.language_model is not None:
        found[LANGUAGE_MODEL] = data.language_model.digest()
    return found


def _filters(settings: Settings, data: Data) -> dict[str, str]:
    """Digests of what the filters of train and dev read."""
    facts = data.store.manifest["files"]
    learned = [each for each in settings.data.filters if {"train", "dev"} & set(each.splits)]
    files = [Path(each.users) for each in learned if each.users is not None]
    digests = digest_files(files)
    found = {f"filters/{path.as_posix()}": digests[path] for path in files}
    for each in learned:
        for table, name in (("items", each.item_field), ("users", each.user_field)):
            if name is not None:
                read = getattr(data.store, table).field(name)
                names = [f"{table}/{name}.safetensors"]
                names += [f"vocabularies/{read.vocabulary}.json"] if read.vocabulary is not None else []
                found |= {f"filters/{file}": facts[file]["blake2b"] for file in names}
        if each.users is not None or each.user_field is not None:
            found[f"filters/{USER_IDS}"] = facts[USER_IDS]["blake2b"]
    return found


def _bricks(settings: Settings) -> list[registry.Brick]:
    return [
        registry.find(kind, brick.name) for kind, brick in settings.model.bricks().values() if kind in BRICKS
    ]


def offered_to_bricks(settings: Settings) -> set[str]:
    """What the program gives to any of the bricks."""
    return {name for brick in _bricks(settings) for name in brick.offered}


def _reads_users(settings: Settings) -> bool:
    """Whether a brick knows users by their rows."""
    return any("user" in registry.extras(brick) for brick in _bricks(settings))


def _fields(data: Data) -> list[Field]:
    """What is read of the items."""
    found = []
    for catalog in data.catalogs:
        text = catalog.text
        if text is None:
            found += [data.store.items.field(name) for name in columns(data.settings.fields)]
        else:
            found += [stored_field(data.store, name, text.tokenizer_name) for name in text.field_names]
    return found
