"""``exp.init_from``, the run whose weights training begins with, is read where there is training."""

from __future__ import annotations

import os

from legorec.compose import Composition, Problem
from legorec.settings.exp_layer import ExpSettings
from legorec.settings.modes import MODES

PLACE = "exp.init_from"


def judge_init_from(exp: ExpSettings, composition: Composition) -> None:
    """Note a run that nothing starts from, or that is not there.

    What a run has saved is left alone: it may be measured where its start is long gone.
    """
    if exp.init_from is None or composition.is_saved(PLACE) or composition.is_unresolved(PLACE):
        return
    message = ""
    if not MODES[exp.mode].learns:
        modes = [name for name, each in MODES.items() if each.learns]
        message = (
            f"is read in the modes {', '.join(modes)} only, got {exp.init_from!r} where exp.mode is "
            f"{exp.mode!r}; `exp.load` names the run that is measured"
        )
    elif not os.path.isdir(exp.init_from) and not composition.is_made_earlier(exp.init_from):
        message = f"no folder {exp.init_from}; it is the folder of a trained run"
    if message:
        composition.problems.append(Problem(composition.where(PLACE), PLACE, message))
