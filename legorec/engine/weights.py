"""The best epoch of a run, put into a model, with a check that it is of the same make and data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from legorec import registry
from legorec.compose.files import read_document
from legorec.compose.problems import Problem, SettingsError
from legorec.data.digest import digest_files
from legorec.data.item_text import stored_field
from legorec.data.store import Field
from legorec.engine import checkpoint
from legorec.engine.optim import learned_state
from legorec.engine.run import best_checkpoint
from legorec.recipes.assemble import Data, checkpoint_of
from legorec.recipes.session import settings_file

if TYPE_CHECKING:
    from legorec.settings import Settings

BRICKS = tuple(registry.NUM_TENSORS)
ITEM_IDS, USER_IDS = "items/ids.safetensors", "users/ids.safetensors"
LANGUAGE_MODEL = "language model"
PLACES = ("checkpoint", "cache", "memory_gb")  # where things lie; what they hold is held against digests


def input_digests(settings: Settings, data: Data) -> dict[str, str]:
    """Digests of all that training reads: files of the store, given tables as ``embed/<vocabulary>``, the
    language model as ``language model``."""
    store = data.store
    names = [ITEM_IDS, "histories.safetensors"]
    if _reads_users(settings):
        names.append(USER_IDS)
    profiles = [data.store.users.field(name) for name in settings.data.user_fields]
    for table, fields in (("items", _fields(data)), ("users", profiles)):
        for field in fields:
            vocabulary = f"tokenizers/{field.vocabulary}/tokenizer.json"
            names += [f"{table}/{field.name}.safetensors"]
            if field.kind != "number":
                names += [vocabulary if field.kind == "text" else f"vocabularies/{field.vocabulary}.json"]
    for split in (settings.data.splits.train, settings.data.splits.dev):
        names += [f"interactions/{split}.safetensors"] if split in store.splits else []
    facts = store.manifest["files"]
    tables = {table.vocabulary: Path(table.path) for table in settings.embed.tables}
    if settings.embed.codes is not None:
        tables[".codes"] = Path(settings.embed.codes.path)  # no vocabulary is called so
    digests = digest_files(tables.values())
    found = {name: facts[name]["blake2b"] for name in names}
    found |= {f"embed/{vocabulary}": digests[path] for vocabulary, path in tables.items()}
    for table, catalog in (("items", data.catalog), ("users", data.profiles)):
        for part in catalog.fields if catalog is not None else ():
            if part.kind == "number":
                found[f"numbers/{table}/{part.name}"] = f"mean {part.mean!r}, deviation {part.deviation!r}"
    checkpoint = checkpoint_of(settings)
    if checkpoint is not None:
        from legorec.lm.pretrained import find_pretrained

        found[LANGUAGE_MODEL] = find_pretrained(checkpoint).digest()
    return found


def _bricks(settings: Settings) -> list[registry.Brick]:
    chosen = {kind: getattr(settings.model, kind) for kind in BRICKS}
    return [registry.find(kind, brick.name) for kind, brick in chosen.items() if brick is not None]


def _offered(settings: Settings) -> set[str]:
    """What the program gives to any of the bricks."""
    return {name for brick in _bricks(settings) for name in brick.offered}


def _reads_users(settings: Settings) -> bool:
    """Whether a brick knows users by their rows."""
    return any("user" in registry.extras(brick) for brick in _bricks(settings))


def _fields(data: Data) -> list[Field]:
    """What is read of the items."""
    text = data.catalog.text
    if text is None:
        return [data.store.items.field(name) for name in data.settings.fields]
    return [stored_field(data.store, name, text.tokenizer_name) for name in text.field_names]


def check_inputs(saved: Mapping[str, Any], now: Mapping[str, str], path: Path, data: Data) -> None:
    """Refuse weights that were learned from something else than what is there now.

    Args:
        saved: the state of a checkpoint.
        now: the digests that it must agree with, some or all of ``input_digests``.
    """
    for name, digest in now.items():
        if saved["inputs"].get(name) != digest:
            where = f"another store than {data.store.path}"
            if name.startswith("embed/"):
                where = "another table"
            elif name == LANGUAGE_MODEL:
                where = "another checkpoint of the language model"
            raise ValueError(
                f"{path} was trained with {where}, or it has changed since: '{name}' differs; train anew "
                "(--overwrite true) or name what it was trained with"
            )


def load_best(run: Path, model: nn.Module, settings: Settings, data: Data) -> Path:
    """Put the weights of a run's best epoch into a model of the same make; returns their checkpoint.

    Impressions and items may be others than in training, vocabularies may not.

    Raises:
        ValueError: the folder is no trained run, or bricks, fields, vocabularies or weights differ.
    """
    check_make(run, settings)
    path = best_checkpoint(run)
    saved = checkpoint.load(path)
    now = input_digests(settings, data)
    by_item = _offered(settings) & {"num_items", "codes"}  # weights or codes that are an item's by its row
    ids = (USER_IDS, ITEM_IDS) if by_item else (USER_IDS,)
    wanted = ("tokenizers/", "vocabularies/", "numbers/", "embed/", LANGUAGE_MODEL, *ids)
    check_inputs(saved.state, {name: now[name] for name in now if name.startswith(wanted)}, path, data)
    load_weights(model, saved, path)
    return path


def check_make(run: Path, settings: Settings) -> None:
    """Refuse a run whose bricks or fields are other ones: its weights may fit and mean something else."""
    problems: list[Problem] = []
    tree = read_document(str(settings_file(run)), problems).tree
    if problems:
        raise SettingsError(problems)
    there, here = tree.get("model", {}), settings.dump()["model"]
    for kind in BRICKS:
        trained, asked = (dict(block.get(kind) or {}) for block in (there, here))
        for key in [key for key in (*trained, *asked) if key not in PLACES]:
            if trained.get(key) != asked.get(key):
                raise ValueError(
                    f"{run} was trained with model.{kind}.{key} {trained.get(key)!r}, asked for is "
                    f"{asked.get(key)!r}; give the model layer and flags that it was trained with"
                )
    there, here = tree.get("data", {}), settings.data
    for key in ("fields", "user_fields"):
        trained_fields, asked_fields = list(there.get(key) or {}), list(getattr(here, key))
        if trained_fields != asked_fields:
            raise ValueError(
                f"{run} was trained with data.{key} {', '.join(trained_fields) or 'none'}, asked for are "
                f"{', '.join(asked_fields) or 'none'}"
            )
    template = (there.get("text") or {}).get("template")
    if template != (here.text.template if here.text else None):
        raise ValueError(
            f"{run} was trained with data.text.template {template!r}, asked for is another one, "
            "whose states mean something else"
        )


def load_weights(model: nn.Module, saved: checkpoint.Checkpoint, path: Path) -> None:
    """Put saved weights into a model, strictly: every trainable one, of the same shape, and no other.

    Raises:
        ValueError: naming the first that is missing, unexpected or of another shape.
    """
    weights = saved.tensors["weights"]
    wanted = learned_state(model)
    for name in sorted(set(wanted) ^ set(weights)):
        where = "does not hold" if name in wanted else "holds, and the model does not,"
        raise ValueError(f"{path} {where} '{name}'; it was trained with another model or other settings")
    with torch.no_grad():
        for name, value in weights.items():
            if wanted[name].shape != value.shape:
                raise ValueError(
                    f"{path}: '{name}' is {tuple(value.shape)}, the model wants {tuple(wanted[name].shape)}; "
                    "it was trained with other settings or another store"
                )
            wanted[name].copy_(value)
