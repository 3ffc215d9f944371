"""Prompted language models with their weights: scores, best items, and answers to single requests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from legorec.data.evaluation import Impressions
from legorec.lm.answering import CausalModel
from legorec.prompts import Prompt
from legorec.recipes.inputs.made_prompts import prompt_digests
from legorec.recipes.inputs.served import Request, Served, Ways
from legorec.recipes.inputs.store_data import Data
from legorec.recipes.latency import batch_of
from legorec.recipes.outputs.measure import best_items_watched
from legorec.recipes.outputs.session import Session
from legorec.recipes.prompted import answer_scorer, built, load_prompted
from legorec.recipes.trained_prompts import TrainedPrompts
from legorec.scorers.answer_pages import AnswerPages
from legorec.scorers.top_answers import top_answers
from legorec.scorers.top_items import TopItems

if TYPE_CHECKING:
    from legorec.settings import Settings

SHARED, WHOLE = "shared_prefix", "whole_prompts"


def prompted_served(settings: Settings, device: torch.device, splits: Sequence[str]) -> Served:
    """A model of the family ``prompted``.

    Raises:
        ValueError: something the user can mend in the settings, the store or the checkpoint.
    """
    data, prompt, model = built(settings, device, splits)

    def load(run: Path, epoch: int | None) -> Path:
        return load_prompted(run, model, settings, data, prompt, epoch)

    return Served(
        model,
        data,
        load,
        scorer=lambda impressions, place: answer_scorer(
            model, prompt, impressions, place, settings, marks_beside(impressions, prompt, data)
        ),
        top=lambda users, spans, k, session: top_of(model, prompt, data, users, spans, k, settings, session),
        ways=lambda session: ways_of(model, prompt, settings, session),
        trained=lambda: TrainedPrompts(model.eval(), prompt, data),
        inputs=lambda: prompt_digests(settings, data, prompt),
        said=[*data.filtered, *model.reads_whole(prompt.max_length)],
    )


def marks_beside(impressions: Impressions, prompt: Prompt, data: Data) -> np.ndarray | None:
    """The marks of the clicks of some impressions, where their histories are others than the prompt's.

    Raises:
        ValueError: the prompt shows marks, and these clicks have none.
    """
    clicks = impressions.histories.clicks
    if impressions.histories is data.histories:
        return None
    if clicks is data.histories.clicks and data.store.marks is not None:
        return data.store.marks
    if prompt.shows_marks:
        raise ValueError(
            f"the prompt shows which clicks were {' or '.join(data.store.mark_names)}, which a column "
            "`history` does not say; leave it out, so that each user has the latest stored history"
        )
    return np.zeros(len(clicks), dtype=np.uint8)


def top_of(
    model: CausalModel,
    prompt: Prompt,
    data: Data,
    users: np.ndarray,
    spans: np.ndarray,
    k: int,
    settings: Settings,
    session: Session,
) -> TopItems:
    """The ``k`` best items for each user, each of which has a prompt."""
    evaluation, processes = settings.exp.evaluation, session.processes
    answers = AnswerPages(model, prompt, evaluation.fast, evaluation.token_budget, session.tell)
    with best_items_watched(model, len(users), settings, session) as advanced:
        return top_answers(
            answers, data.histories, users, spans, k, data.num_real, advanced=advanced, processes=processes
        )


def ways_of(model: CausalModel, prompt: Prompt, settings: Settings, session: Session) -> Ways:
    """Answers from prompts that are read once up to where they part, and from whole ones."""
    budget = settings.exp.evaluation.token_budget

    def way(shared: bool) -> AnswerPages:
        return AnswerPages(model, prompt, shared, budget, session.tell)

    def answer(pages: AnswerPages, request: Request) -> np.ndarray:
        return pages.scores(batch_of(request)).cpu().numpy()

    shared, whole = way(True), way(False)
    return Ways(
        {SHARED: lambda request: answer(shared, request), WHOLE: lambda request: answer(whole, request)},
        {},
        "",
    )
