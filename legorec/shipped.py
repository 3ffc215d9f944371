"""Configuration and processors of the library: in the wheel, or beside the package in a checkout."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).parent
SUFFIXES = (".yaml", ".yml", ".json")  # of configuration files


def shipped(name: str) -> Path:
    """The folder ``config`` or ``process``."""
    inside = HERE / name
    return inside if inside.is_dir() else HERE.parent / name


def is_store(name: str) -> bool:
    """Whether a data layer is named by a store's folder; a configuration file of this name comes first."""
    if not os.path.isfile(os.path.join(name, "manifest.json")):
        return False
    return bool(os.path.dirname(name)) or _named_file("data", name) is None


def config_file(path: str) -> str:
    """A path below ``config/`` that is not in the current folder, where the library has it."""
    if os.path.exists(path) or os.path.isabs(path):
        return path
    first, *rest = Path(os.path.normpath(path)).parts or [""]
    if first != "config" or not rest:
        return path
    found = shipped("config").joinpath(*rest)
    return str(found) if found.is_file() else path


def layer_file(layer: str, name: str) -> str:
    """The file of a layer by its path, or by its bare name, as in ``lego_naml``.

    A bare name is looked for in ``config/LAYER`` of the current folder, then in that of the library. The
    folder of a store stands for the ``data.yaml`` in it.
    """
    if layer == "data" and is_store(name):
        return os.path.join(name, "data.yaml")
    if os.path.dirname(name) or name.endswith(SUFFIXES) or not name:
        return config_file(name)
    if (found := _named_file(layer, name)) is not None:
        return found
    here = Path("config", layer)
    return str((here if here.is_dir() else shipped("config") / layer) / f"{name}.yaml")


def layer_names(layer: str) -> list[str]:
    """The bare names of a layer's files, of the current folder and of the library."""
    files = (file for folder in _folders(layer) if folder.is_dir() for file in folder.iterdir())
    return sorted({file.stem for file in files if file.suffix in SUFFIXES})


def is_bare(layer: str, path: str) -> bool:
    """Whether a file could be named without its folder."""
    return Path(path).parent in _folders(layer)


def _folders(layer: str) -> tuple[Path, Path]:
    return Path("config", layer), shipped("config") / layer


def _named_file(layer: str, name: str) -> str | None:
    """The file of a layer by its bare name: in the current folder, else in the library."""
    for folder in _folders(layer):
        for suffix in SUFFIXES:
            if (folder / f"{name}{suffix}").is_file():
                return str(folder / f"{name}{suffix}")
    return None
