"""The settings of a saved model: paths in its own folder alone, and a base by its name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from legorec.data.vectors import KEY, SIZES_KEY
from legorec.files.sealed import load_sealed, save_sealed
from legorec.recipes.inputs.given_vectors import read_matrix
from legorec.recipes.inputs.store_data import Data
from legorec.registry import find
from legorec.settings.brick_places import block_at, brick_places
from legorec.settings.exp_layer import ExpSettings
from legorec.settings.resolved import leaves, set_at

if TYPE_CHECKING:
    from legorec.settings import Settings

STORE, TABLES = "store", "tables"
CHECKPOINT, ADAPTER = "checkpoint", "adapter"


class BundleError(ValueError):
    """A saved model breaks a rule, or there is none; the message names the file and the rule."""


@dataclass
class Travelling:
    """What a saved model says of how it is made.

    Args:
        tree: the settings as ``Settings.dump`` gives them.
        base: place, name and digest of the language model that is not in the folder.
        tables: files of given vectors and codes, by their name in the folder.
    """

    tree: dict[str, Any]
    base: dict[str, str] | None = None
    tables: dict[str, Path] = field(default_factory=dict)


def travelling(settings: Settings, data: Data, base_digest: str | None) -> Travelling:
    """The settings without filters, training and paths.

    Raises:
        BundleError: a setting leads to a place of this machine.
    """
    tree = settings.dump()
    found = Travelling(tree)
    update: dict[str, Any] = {"store": STORE, "filters": [], "dev_rows": None, "shots": None, "made_with": {}}
    tree["data"].update(update, stratified=False)
    if (text := data.reading(by_language_model=True).text) is not None:
        tree["data"]["text"]["tokenizer"] = text.tokenizer_name
    evaluation = settings.exp.evaluation.model_copy(update={"slices": None})
    tree["exp"] = ExpSettings(
        name=settings.exp.name, mode="train", policy=settings.exp.policy, evaluation=evaluation
    ).model_dump()
    _give_tables(found, only_named=base_digest is not None and len(tree["embed"]["tables"]) == 1)
    for place in _paths(tree["model"]):
        path = block_at(tree, f"model.{place}")
        if not isinstance(path, str):
            continue
        is_base = place.rpartition(".")[2] == CHECKPOINT
        name = Path(path).name if Path(path).exists() else path
        set_at(tree, f"model.{place}", name if is_base else None)
        if is_base and base_digest is not None:
            found.base = {"place": f"model.{place}", "name": name, "digest": base_digest}
    _check_paths(tree)
    return found


def _give_tables(found: Travelling, only_named: bool) -> None:
    """Note the given tables that go along.

    Args:
        only_named: they name what a language model's checkpoint holds anyway, and stay behind.
    """
    embed = found.tree["embed"]
    if only_named:
        embed["tables"] = []
    for place, table in enumerate(embed["tables"]):
        name = f"{TABLES}/{place}.safetensors"
        found.tables[name] = Path(table["path"])
        table.update(path=name, made_with={}, checkpoint=None)
    if embed["codes"] is not None:
        name = f"{TABLES}/codes.safetensors"
        found.tables[name] = Path(embed["codes"]["path"])
        embed["codes"]["path"] = name


def copy_table(source: Path, target: Path) -> None:
    """Write a given table, with whose rows it holds and nothing else that was said of it."""
    target.parent.mkdir(exist_ok=True)
    if source.suffix == ".npy":
        save_sealed({"vectors": read_matrix(source)}, target, {"format": "pt"})
        return
    with safe_open(source, framework="pt") as file:
        said = file.metadata() or {}
    kept = {key: said[key] for key in (KEY, SIZES_KEY) if key in said}
    save_sealed(load_sealed(source), target, {"format": "pt", **kept})


def _paths(model: dict[str, Any]) -> Iterator[str]:
    """The places in a model layer that may hold paths: those of the bricks, and of a prompted model."""
    yield from (f"language_model.{CHECKPOINT}", f"language_model.lora.{ADAPTER}")
    for place, kind in brick_places(model):
        name = block_at(model, f"{place}.name")
        if isinstance(name, str):
            yield from (f"{place}.{each}" for each in find(kind, name).joints.get("places", ()))


def _check_paths(tree: dict[str, Any]) -> None:
    """Raises BundleError: a setting leads to a place of this machine."""
    for place, value in leaves(tree):
        if isinstance(value, str) and (path := Path(value)).is_absolute():
            if len(path.parts) > 1 and path.exists():
                raise BundleError(f"`{place}` leads to {value}, which a saved model cannot hold")
