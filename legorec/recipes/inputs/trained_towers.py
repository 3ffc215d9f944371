"""Load an epoch of a run into a model, after checking that both are of the same make and data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from legorec import registry
from legorec.compose.documents import read_document
from legorec.compose.problems import Problem, SettingsError
from legorec.engine.weights import LANGUAGE_MODEL, TRAIN_ANEW, load_best
from legorec.recipes.inputs.digests import BRICKS, ITEM_IDS, USER_IDS, input_digests, offered_to_bricks
from legorec.recipes.inputs.store_data import Data
from legorec.recipes.outputs.session import settings_file
from legorec.settings.brick_places import block_at, brick_places
from legorec.settings.resolved import as_meant

if TYPE_CHECKING:
    from legorec.settings import Settings


def load_trained(
    run: Path, model: nn.Module, settings: Settings, data: Data, epoch: int | None = None
) -> Path:
    """Load the weights of a run's best epoch into a model of the same make; returns their checkpoint.

    Impressions and items may be others than in training, vocabularies may not.

    Args:
        epoch: another one that is kept; ``exp.load_epoch`` if None.
    Raises:
        ValueError: the folder is no trained run, or bricks, fields, vocabularies or weights differ.
    """
    check_make(run, settings)
    now = input_digests(settings, data)
    # Weights or codes that are an item's by its row.
    by_item = offered_to_bricks(settings) & {"num_items", "codes"}
    ids = (USER_IDS, ITEM_IDS) if by_item else (USER_IDS,)
    wanted = ("tokenizers/", "vocabularies/", "numbers/", "embed/", LANGUAGE_MODEL, *ids)
    inputs = {name: digest for name, digest in now.items() if name.startswith(wanted)}
    epoch = settings.exp.load_epoch if epoch is None else epoch
    return load_best(run, model, inputs, str(data.store.path), epoch, partial(way_out, run))


def way_out(run: Path, name: str) -> str:
    """What to do where a store differs in a way that a run's weights do not allow, by the input's name."""
    goes_on = f"a training that starts from its weights, exp.init_from {run}, matches"
    if name in (ITEM_IDS, USER_IDS):
        what = "items" if name == ITEM_IDS else "users"
        return f"its weights belong to {what} by their rows in the store: {goes_on} them by id"
    if name.startswith(("tokenizers/", "vocabularies/", "numbers/")):
        return (
            "a store that is made like the one that it was trained with (--like) can be read by it, and "
            f"{goes_on} words and categories"
        )
    return TRAIN_ANEW


def check_make(run: Path, settings: Settings) -> None:
    """Check that a run has the same bricks and fields: other weights might fit and mean something else.

    Raises:
        ValueError: a brick, one of its arguments or a field differs.
    """
    tree = saved_tree(run)
    for place, trained, asked in brick_differences(tree, settings):
        raise ValueError(
            f"{run} was trained with model.{place} {trained!r}, asked for is {asked!r}; give the model layer "
            "and flags that it was trained with"
        )
    check_fields(run, tree, settings)


def saved_tree(run: Path) -> dict[str, Any]:
    """The settings that a run saved, as they are written.

    Raises:
        ValueError: the folder is no run, or they were altered.
    """
    problems: list[Problem] = []
    tree = read_document(str(settings_file(run)), problems).tree
    if problems:
        raise SettingsError(problems)
    return tree


def brick_differences(tree: Mapping[str, Any], settings: Settings) -> Iterator[tuple[str, Any, Any]]:
    """Place, value there and value here of each argument of a brick, and of each name, that differs."""
    there, here = tree.get("model", {}), settings.dump()["model"]
    for place, kind in dict([*brick_places(there), *brick_places(here)]).items():
        if kind not in BRICKS:
            continue
        name = (block_at(here, place) or {}).get("name")
        trained, asked = (_compared(kind, block_at(model, place) or {}, name) for model in (there, here))
        for key in dict.fromkeys([*trained, *asked]):
            if trained.get(key) != asked.get(key):
                yield f"{place}.{key}", trained.get(key), asked.get(key)


def check_fields(run: Path, tree: Mapping[str, Any], settings: Settings) -> None:
    """Raises ValueError: the fields of items or users, or the items' text, are not those of the run."""
    there, here = tree.get("data", {}), settings.data
    for key in ("fields", "user_fields"):
        trained_fields, asked_fields = list(there.get(key) or {}), list(getattr(here, key))
        if trained_fields != asked_fields:
            raise ValueError(
                f"{run} was trained with data.{key} {', '.join(trained_fields) or 'none'}, asked for are "
                f"{', '.join(asked_fields) or 'none'}"
            )
        for name, cut in getattr(here, key).items():
            trained, asked = ((there.get(key) or {}).get(name) or {}, cut.model_dump())
            for part, default in (("column", None), ("own_table", False), ("scaled", "standard")):
                if trained.get(part, default) != asked[part]:
                    raise ValueError(
                        f"{run} was trained with data.{key}.{name}.{part} "
                        f"{trained.get(part, default)!r}, asked for is {asked[part]!r}"
                    )
    template = (there.get("text") or {}).get("template")
    if template != (here.text.template if here.text else None):
        raise ValueError(
            f"{run} was trained with data.text.template {template!r}, asked for is another one, "
            "whose states mean something else"
        )


def _compared(kind: str, block: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """A brick's settings without those that say where something lies, which is held against digests.

    Args:
        name: of the brick that is asked for.
    """
    found = deepcopy(dict(block))
    if name is None:
        return found
    brick = registry.find(kind, name)
    found = as_meant(brick, found) if found.get("name") == name else found
    for place in brick.joints.get("places", ()):
        *blocks, key = place.split(".")
        inner: Any = found
        for each in blocks:
            inner = inner.get(each) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner.pop(key, None)
    return found
