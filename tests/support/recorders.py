"""Bricks of every kind from outside that keep what they are given, for whole runs in this process."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What each kind is made of: imports, the class that does the work, what it is told.
MADE_OF = {
    "source": ("sources.table", "TableSource", "catalog, embed_dim=16"),
    "item_encoder": ("item_encoders.nrms", "NRMSItemEncoder", "input_dim, hidden_dim=16, heads=4"),
    "user_encoder": ("user_encoders.nrms", "NRMSUserEncoder", "input_dim, heads=4"),
    "user_plugin": ("user_plugins.profile", "ProfileUserPlugin", "profiles, input_dim"),
    "predictor": ("predictors.dot", "DotPredictor", ""),
    "objective": ("objectives.sampled_softmax", "SampledSoftmaxObjective", ""),
}
BRICK = """
from legorec.{module} import {base}

class {kind}({base}):
    needs_interests = ()

    def __init__(self, *, {names}):
        SEEN["{kind}"] = {{key: value for key, value in locals().items() if key not in ("self", "__class__")}}
        super().__init__({told})
"""


def write_recorders(folder: Path, module: str, names: Mapping[str, Mapping[str, str]]) -> None:
    """A module with a brick for each kind.

    Args:
        names: for each kind its arguments, and for each what stands behind its name: annotation and default.
    """
    text = "from __future__ import annotations\nSEEN = {}\n"
    for kind, arguments in names.items():
        path, base, told = MADE_OF[kind]
        written = ", ".join(f"{name}{rest}" for name, rest in arguments.items())
        text += BRICK.format(module=path, base=base, kind=kind, names=written, told=told)
    (folder / f"{module}.py").write_text(text, encoding="utf-8")


def needed(kind: str) -> dict[str, str]:
    """The arguments without which a brick of this kind cannot be made, which the program gives."""
    told = [each for each in MADE_OF[kind][2].split(", ") if each and "=" not in each]
    return dict.fromkeys(told, "=None")


def seen(module: str) -> dict[str, dict[str, Any]]:
    """What each brick was given when it was last built."""
    return sys.modules[module].SEEN
