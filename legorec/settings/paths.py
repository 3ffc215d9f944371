"""The paths of a run's settings, found from wherever the run is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from legorec.compose import UNRESOLVED, Composition, Problem
from legorec.registry import RegistryError, find
from legorec.settings.brick_places import block_at, brick_places
from legorec.settings.resolved import set_at

# Where nothing may be: a run writes the cache or the log, a language model may be one of the hub, and of a
# store whoever opens it says most. Where training began is read by training alone.
MAY_BE_MISSING = ("cache", "checkpoint", "store", "log", "start", "init_from")


def find_paths(composition: Composition, whole: bool = False) -> tuple[dict[str, str], tuple[str, ...]]:
    """Put what they lead to in the place of the relative paths that a run saved; the rest is left as it is.

    What leads nowhere is noted as a problem.

    Args:
        whole: also in the place of those that lead to the same from the current folder, which may change.

    Returns: the paths that were replaced, as they are written, by dotted place; and what to say of those that
        lead nowhere and are no problem yet.
    """
    saved = composition.saved
    if saved is None:
        return {}, ()
    written, lost = {}, []
    for place, path, needed in list(_paths(composition.layers)):
        if not composition.is_saved(place) or os.path.isabs(path) or composition.is_unresolved(place):
            continue
        found = saved.find(path)
        if found is None and not needed:
            lost.append(saved.told(path, place))
        elif found is None:
            problem = Problem(composition.where(place), place, saved.told(path, place))
            composition.problems.append(problem)
            set_at(composition.layers, place, UNRESOLVED)  # told once
        elif whole or not os.path.exists(path) or not os.path.samefile(path, found):
            written[place] = path
            set_at(composition.layers, place, str(found))
    return written, tuple(lost)


def _paths(layers: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Dotted place, path, and whether something must be there."""
    named = [
        "data.store",
        "embed.codes.path",
        "exp.load",
        "exp.init_from",
        "exp.predict.pairs",
        "exp.generate.log",
        "exp.merge.scheme",
        "model.start",
        "model.fields_of",
        "model.language_model.checkpoint",
    ]
    for place in ("exp.generate.generator", "exp.generate.generator.of"):
        named += [f"{place}.{name}" for name in ("log", "checkpoint", "adapter")]
    tables = block_at(layers, "embed.tables")
    rows = range(len(tables) if isinstance(tables, list) else 0)
    named += [f"embed.tables.{row}.{name}" for row in rows for name in ("path", "checkpoint")]
    for brick, kind in brick_places(layers.get("model")):
        for name in _places(kind, block_at(layers, f"model.{brick}.name")):
            named.append(f"model.{brick}.{name}")
    for place in named:
        path = block_at(layers, place)
        if isinstance(path, str):
            yield place, path, place.rpartition(".")[2] not in MAY_BE_MISSING


def _places(kind: str, name: Any) -> tuple[str, ...]:
    try:
        return find(kind, name).joints.get("places", ()) if isinstance(name, str) else ()
    except RegistryError:
        return ()  # told where the name is read
