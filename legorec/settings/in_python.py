"""Settings from Python values, completed and checked by the rules that YAML files have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from legorec.compose import LAYERS, Composition, Problem, SettingsError
from legorec.compose.command_line import CommandLine
from legorec.compose.composition import composed, read_layers
from legorec.compose.documents import put
from legorec.settings.families import FAMILIES
from legorec.settings.reading import checked_model, layers_spared, settings_in
from legorec.settings.resolved import Settings
from legorec.shipped import layer_file

HERE = "Python"  # the origin of what no file holds


def settings_of(layers: Mapping[str, str | Path | Mapping[str, Any]], flags: Mapping[str, Any]) -> Settings:
    """The settings that layers and flags ask for.

    Args:
        layers: by name, each a tree as YAML has it, a file, or the bare name of one that comes with legorec.
        flags: by key as on the command line, dotted ones with dots or with ``__`` (``exp__policy__lr``).
    Raises:
        SettingsError: with everything that is wrong.
    """
    line, problems = CommandLine(), list[Problem]()
    trees = {name: each for name, each in layers.items() if isinstance(each, Mapping)}
    for name, each in layers.items():
        if name not in trees:
            line.layers[name] = layer_file(name, str(each))
    for key, value in flags.items():
        key = key.replace("__", ".")
        if key in LAYERS:
            problems.append(Problem(HERE, key, "is a layer, and no flag"))
        else:
            line.give(key, plain(value), (HERE, key))

    def spared(mode: Any) -> list[str]:
        return [*layers_spared(mode), *trees]

    document, failed = read_layers(line, problems, spared)
    for name, tree in trees.items():
        put(document, document.tree, "", name, plain(tree), {name: HERE})
    settings = settings_in(composed(line, document, failed, problems))
    if settings is None or problems:
        raise SettingsError(problems)
    return settings


def completed(settings: Settings) -> Settings:
    """Settings whose bricks have all their arguments, those that were left out by their defaults.

    ``BrickSettings(name="nrms")`` holds no more than a name; what a run saves must hold all, so that it means
    the same when a default is another one.

    Raises:
        SettingsError: with everything that is wrong in the model layer.
    """
    model: Any = settings.model
    family = FAMILIES.get(str(getattr(model, "family", "")))
    if family is None or not family.bricks:
        return settings
    problems: list[Problem] = []
    composition = Composition(origins={"model": HERE}, problems=problems)
    made = checked_model(model.model_dump(), composition)
    if problems or made is None:
        raise SettingsError(problems)
    return settings if made == model else replace(settings, model=made)


def plain(value: Any) -> Any:
    """A value as YAML has it: paths as texts, tuples as lists, numbers of numpy as those of Python."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    return value.item() if hasattr(value, "item") and not hasattr(value, "__len__") else value
