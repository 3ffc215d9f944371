"""Where the config files that come with legorec are: decided here and nowhere else."""

from __future__ import annotations

from pathlib import Path

from legorec.compose.documents import SUFFIXES, missing_file

CONFIG = Path(__file__).parents[2] / "config"  # of the checkout


def config_file(layer: str, name: str) -> str:
    """The file of a layer by its path, or by the bare name of one that comes with legorec, as ``lego_nrms``.

    Raises:
        ValueError: there is none.
    """
    if name.endswith(SUFFIXES):
        return name
    path = CONFIG / layer / f"{name}.yaml"
    if not path.is_file():
        raise ValueError(f"{layer}: {missing_file(str(path))}")
    return str(path)
