"""Names of bricks that come from files and not from their user: code from outside is refused by itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from legorec.registry.bricks import locate
from legorec.registry.kinds import KINDS


def why_not(kind: str, name: str, allowed: Iterable[str], folder: Path) -> str:
    """Why a name that stands in a run's folder is not followed; nothing where it may be.

    Whoever can write the folder would choose the code that runs. So a name leads to bricks of the package,
    or to modules that the caller allows, which must not lie in the run's folder or in the current one.

    Args:
        kind: of brick.
        allowed: modules or packages, by dotted name.
        folder: of the run.
    """
    inside = name.startswith(f"legorec.{KINDS[kind].folder}.") and name.count(".") > 2
    return "" if inside else why_not_outside(name, allowed, folder)


def why_not_outside(name: str, allowed: Iterable[str], folder: Path) -> str:
    """``why_not`` of a name that leads out of the package if it is a dotted path."""
    module = name.rpartition(".")[0]
    if not module:
        return ""
    top = module.partition(".")[0]
    if not any(module == each or module.startswith(f"{each}.") for each in allowed):
        return (
            f"{name!r} is code from outside legorec, which the settings of a run do not bring in; if you "
            f"trust it, allow it: --allow {top}, or legorec.load(run, allow=[{top!r}])"
        )
    file = None if top in sys.modules else locate(module)
    if file is None:  # the caller has imported it; or it is not there, which is told where it is read
        return ""
    entry = file.parents[len(module.split(".")) - (file.name != "__init__.py")].resolve()
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    explicit = [Path(each).resolve() for each in named if os.path.isabs(each)]
    if file.resolve().is_relative_to(folder.resolve()):
        where = "the run's own folder"
    elif entry == Path.cwd().resolve() and entry not in explicit:
        where = "the current folder"
    else:
        return ""
    return (
        f"{name!r} would be read from {file}, in {where}, where anybody's files may lie; install it, name "
        f"its folder with the whole path in PYTHONPATH, or import {top} before the run is loaded"
    )
