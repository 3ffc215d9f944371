"""One run from resolved settings: what ``worker.py`` does after it has read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from legorec.processes import ALONE, Processes
from legorec.recipes.cache import cache
from legorec.recipes.experiment import experiment
from legorec.recipes.export import export
from legorec.recipes.latency import latency
from legorec.recipes.predict import predict
from legorec.recipes.session import choose_device, run_path
from legorec.recipes.size import size

if TYPE_CHECKING:
    from legorec.settings import Settings

__all__ = ["RECIPES", "choose_device", "run", "run_path"]

Recipe = Callable[["Settings", Processes], dict[str, Any]]
RECIPES: Mapping[str, Recipe] = {
    "train": experiment,
    "dev": experiment,
    "test": experiment,
    "train_test": experiment,
    "cache": cache,
    "size": size,
    "latency": latency,
    "export": export,
    "predict": predict,
}


def run(settings: Settings, processes: Processes = ALONE) -> dict[str, Any]:
    """Do what ``exp.mode`` says; returns what ``metrics.json`` holds.

    Args:
        processes: those that share the run, already ``joined``.

    Raises:
        ValueError: something the user can mend (a store, a setting, a folder).
        Interrupted: the process was asked to stop; the folder holds a checkpoint to resume from.
        PeerError: another of the processes failed.
    """
    return RECIPES[settings.exp.mode](settings, processes)
