"""One run from resolved settings: what ``worker.py`` does after it has read them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from legorec.engine.kernels import kernels
from legorec.processes import ALONE, Processes
from legorec.settings.in_python import completed
from legorec.settings.modes import MODES

if TYPE_CHECKING:
    from legorec.settings import Settings


def run(settings: Settings, processes: Processes = ALONE) -> dict[str, Any]:
    """Do what ``exp.mode`` says; returns what ``metrics.json`` holds.

    Args:
        settings: of a command line, or built in Python; then bricks get the defaults of what was left out.
        processes: those that share the run, already ``joined``.

    Raises:
        ValueError: something the user can mend (a store, a setting, a folder).
        Interrupted: the process was asked to stop; the folder holds a checkpoint to resume from.
        PeerError: another of the processes failed.
    """
    settings = completed(settings)
    policy = settings.exp.policy
    with kernels(policy.tf32, policy.deterministic):
        return function_at(MODES[settings.exp.mode].recipe)(settings, processes)


def function_at(path: str) -> Any:
    """The function that a table names as ``module:function``, below ``legorec.recipes``."""
    module, _, name = path.partition(":")
    return getattr(import_module(f"legorec.recipes.{module}"), name)
