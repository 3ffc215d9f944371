"""What a command can name: configuration files, bricks, data stores and runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from legorec.compose import LAYERS
from legorec.registry import KINDS, names
from legorec.shipped import SUFFIXES, shipped

DEPTH = 4  # folders below ``runs``: data set, model, experiment and, of stages, one more


def configs(layer: str) -> dict[str, Path]:
    """Files of ``config/LAYER`` by bare name; those of the current folder come before the library's."""
    found: dict[str, Path] = {}
    for folder in (shipped("config") / layer, Path("config", layer)):
        files = sorted(folder.glob("*")) if folder.is_dir() else []
        found |= {each.stem: each for each in files if each.suffix in SUFFIXES}
    return dict(sorted(found.items()))


def about(file: Path) -> str:
    """The comment that a configuration file begins with."""
    lines = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)


def bricks() -> dict[str, list[str]]:
    """Kinds of bricks by name of a brick: some names stand for bricks of several kinds."""
    found: dict[str, list[str]] = {}
    for kind in KINDS:
        for name in names(kind):
            found.setdefault(name, []).append(kind)
    return found


def stores(root: Path = Path("data")) -> Iterator[Path]:
    """Data stores below a folder."""
    for file in sorted(root.glob("*/manifest.json")):
        yield file.parent


def runs(root: Path = Path("runs")) -> Iterator[Path]:
    """Run folders below a folder."""
    for folder, inside, files in os.walk(root):
        depth = len(Path(folder).relative_to(root).parts)
        inside[:] = sorted(inside) if depth < DEPTH else []
        if "settings.yaml" in files:
            inside.clear()
            yield Path(folder)


def layers_of(name: str) -> list[tuple[str, Path]]:
    """The layers that have a file of this bare name, and the files."""
    return [(layer, configs(layer)[name]) for layer in LAYERS if name in configs(layer)]
