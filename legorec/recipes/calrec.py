"""The task of CALRec: a causal language model that says the next item, aligned by contrast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from legorec.batch import ClickBatch, TokenBatch
from legorec.data.ragged import Ragged
from legorec.engine.task import Learning, Task
from legorec.lm.two_towers import TwoTowerModel
from legorec.objectives.contrast.calrec import CALRecObjective
from legorec.processes import ALONE, Processes
from legorec.prompts import Prompt
from legorec.recipes.inputs.baselines import left_out, untrained_scorers
from legorec.recipes.inputs.candidates import candidates_said, measured_scorer
from legorec.recipes.inputs.said_texts import said_scores
from legorec.recipes.inputs.starting import start_of
from legorec.recipes.inputs.store_data import Data
from legorec.recipes.prompted import built, load_prompted, prompt_learning
from legorec.recipes.tower import needed_splits, slicings
from legorec.scorers.yes_no import YesNoScorer

if TYPE_CHECKING:
    from legorec.settings import Settings
    from legorec.settings.calrec import CALRecSettings


def calrec(settings: Settings, device: torch.device, processes: Processes = ALONE) -> Task:
    """The task of a model with the family ``calrec``.

    Raises:
        ValueError: something the user can mend in the settings, the store or the checkpoint.
    """
    chosen = cast("CALRecSettings", settings.model)
    data, prompt, language = built(settings, device, needed_splits(settings), processes)
    target = prompt.said
    assert target is not None  # the settings end with it
    model = TwoTowerModel(language, target, chosen.alignment.project_dim).to(device)
    said = [*data.filtered, *candidates_said(data, settings), *left_out(data, settings)]
    return Task(
        model=model,
        learning=lambda: calrec_learning(settings, data, prompt, processes),
        scorer=lambda split: measured_scorer(
            data,
            split,
            settings,
            model,
            lambda impressions: YesNoScorer(
                model,
                cast(Prompt, WholeRows(prompt)),
                impressions,
                data.place(split),
                settings.exp.evaluation.batch_size,
            ),
            lambda clicks, corpus: said_scores(
                model.language, prompt, clicks, corpus, chosen.retrieval, settings.seed
            ),
        ),
        baselines=lambda split: untrained_scorers(data, split, settings),
        slices=lambda split: slicings(data, split, settings),
        place=str(data.store.path),
        said=said,
        zero_shot=chosen.language_model.checkpoint is not None,
        load=lambda run: load_prompted(run, model, settings, data, prompt),
        start=lambda run: start_of(load_prompted(run, model, settings, data, prompt)),
    )


@dataclass(frozen=True)
class WholeRows:
    """A prompt whose rows always end with the candidate, for models that score it by how likely it is."""

    prompt: Callable[[ClickBatch], TokenBatch]

    def __call__(
        self, batch: ClickBatch, answered: bool = True, marks_BH: np.ndarray | None = None
    ) -> TokenBatch:
        return self.prompt(batch)


def calrec_learning(settings: Settings, data: Data, prompt: Prompt, processes: Processes) -> Learning:
    """Every click of the training split as a target, after those before it."""
    chosen = cast("CALRecSettings", settings.model)
    alignment = chosen.alignment.model_dump(exclude={"project_dim"})

    objective = CALRecObjective(
        **alignment, texts_N=text_numbers(prompt.items_of(str(prompt.said))), processes=processes
    )
    return prompt_learning(settings, data, prompt, processes, objective, clicks_alone=True)


def text_numbers(texts: Ragged) -> np.ndarray:
    """(N,) int64, the same number for items of the same tokens.

    Raises:
        ValueError: an item has no token.
    """
    if not texts.lengths.all():
        raise ValueError(
            f"item {int(texts.lengths.argmin())} of the store has an empty text, which cannot be a target; "
            "give the template of `prompt.segments` some text of its own, as in {title|Unknown}"
        )
    known: dict[bytes, int] = {}
    return np.array([known.setdefault(row.tobytes(), len(known)) for row in texts], dtype=np.int64)
