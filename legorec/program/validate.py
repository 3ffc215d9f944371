"""``legorec validate``: what is wrong with a data store, or with settings, before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from legorec.settings.stages import Stage


def main(argv: list[str]) -> int:
    """Read a store, or the settings, the data and the model that a run would take; nothing is written."""
    if not argv or argv[0] in ("--help", "-h"):
        print("usage: legorec validate STORE")
        print("       legorec validate --data D --model M --exp E [--key value ...]")
        return 0
    print(_store(argv) if not argv[0].startswith("--") else _settings(argv))
    return 0


def _store(argv: list[str]) -> str:
    from legorec.data.raw.command import counts
    from legorec.data.store import Store

    if len(argv) > 1:
        raise ValueError(f"name one store, got {' '.join(argv)}")
    return "\n".join([*counts(Store.open(argv[0])), "no fault found"])


def _settings(argv: list[str]) -> str:
    from legorec.settings import read_stages

    return "\n".join(map(_stage, read_stages(argv)))


def _stage(stage: Stage) -> str:
    import torch

    from legorec.recipes.inputs.store_data import open_data
    from legorec.recipes.run import function_at
    from legorec.settings.families import FAMILIES
    from legorec.settings.modes import MODES

    settings, mode = stage.settings, MODES[stage.settings.exp.mode]
    if stage.missing():
        return f"no fault found in the settings of {stage.name}; its data are checked after those before it"
    if mode.learns or mode.measures:
        function_at(FAMILIES[settings.model.family].task)(settings, torch.device("cpu"))
        return f"no fault found: {settings.model.name} on {settings.data.store}"
    if "model" in mode.reads:
        open_data(settings)
    return f"no fault found in the settings of mode {mode.name} and in {settings.data.store}"
