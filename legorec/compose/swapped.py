"""Files that were given as another layer than they are of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from legorec.shipped import layer_file

# Settings that tell the layer of a file; `name` and `prompt` stand in several.
OF_LAYER = {
    "data": frozenset({"store", "fields", "text", "splits", "group_by"}),
    "embed": frozenset({"tables", "codes"}),
    "model": frozenset(
        {"family", "source", "item_encoder", "parts", "user_encoder", "predictor", "objective"}
        | {"language_model", "alignment"}
    ),
    "exp": frozenset({"mode", "policy", "evaluation", "metrics", "stages"}),
}


def swapped(layer: str, path: str, tree: Any) -> str | None:
    """The message for a file whose settings are those of another layer; None for one that may be right."""
    if not isinstance(tree, dict) or OF_LAYER[layer] & set(tree):
        return None
    for other, keys in OF_LAYER.items():
        if found := [key for key in tree if key in keys]:
            return f"{path} is a file of the {other} layer ({', '.join(found[:3])}): give it as --{other}"
    return None


def in_another(layer: str, path: str) -> str:
    """The end of the message for a file that is not there, where another layer has one of its name."""
    name = Path(path).stem
    for other in OF_LAYER:
        if other != layer and name and Path(layer_file(other, name)).is_file():
            return f"; {name!r} is a file of the {other} layer: give it as --{other} {name}"
    return ""
