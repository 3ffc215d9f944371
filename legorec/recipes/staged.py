"""A run in stages: one after the other, those that are finished left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from legorec.engine.log import RunLog
from legorec.processes import ALONE, Processes
from legorec.recipes.run import function_at, run
from legorec.settings.modes import MODES
from legorec.settings.resolved import Settings, run_path
from legorec.settings.stages import Stage


def run_stages(stages: Sequence[Stage], processes: Processes = ALONE) -> dict[str, Any]:
    """Run what is not finished; what each returned, by the stage's name.

    A stage whose folder is half-done goes on with ``resume`` as a run without stages does, and ``overwrite``
    makes each anew.

    Raises:
        ValueError: something the user can mend; what an earlier stage should have made is not there.
        Interrupted: the process was asked to stop; the same stages with ``resume`` go on from there.
        PeerError: another of the processes failed.
    """
    log, reports = RunLog(silent=not processes.is_first), {}
    for number, stage in enumerate(stages):
        settings, mode = stage.settings, MODES[stage.settings.exp.mode]
        if not stage.name:
            return {stage.name: run(settings, processes)}
        with processes.agreeing():
            refuse_missing(stage)
            done = not settings.overwrite and is_finished(settings)
        title = f"stage {stage.name} ({number + 1} of {len(stages)})"
        if processes.from_first(done):
            log(f"{title} is finished: {stage.makes}")
            continue
        log(f"{title}, {mode.name}: {mode.about}")
        if not mode.keeps_folder:  # it goes on by itself
            settings = replace(settings, resume=False)
        reports[stage.name] = run(settings, processes)
    return reports


def refuse_missing(stage: Stage) -> None:
    """Raises ValueError: what an earlier stage was to make is not there now that it is needed."""
    for place, (owner, path) in stage.missing().items():
        raise ValueError(
            f"stage {stage.name} reads {path} ({place}), which stage {owner} makes and which is not there; "
            f"run that first, with --stage {owner}, or leave out --stage"
        )


def is_finished(settings: Settings) -> bool:
    """Whether all that a stage makes is there."""
    finished = MODES[settings.exp.mode].finished
    if finished is None:
        return (run_path(settings) / "metrics.json").is_file()
    return bool(function_at(finished)(settings))
