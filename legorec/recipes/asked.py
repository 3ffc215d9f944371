"""The task of language models that are asked as they are: what they say is the score."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from legorec.engine.task import Learning, Task
from legorec.processes import ALONE, Processes
from legorec.prompts.spelled import SpelledPrompt
from legorec.recipes.inputs.baselines import left_out, untrained_scorers
from legorec.recipes.inputs.generators import generator_of, identity_of, parameters_of
from legorec.recipes.inputs.lazy_generator import LazyGenerator
from legorec.recipes.inputs.made_prompts import segment_of
from legorec.recipes.inputs.store_data import opened
from legorec.recipes.tower import needed_splits, slicings
from legorec.scorers.asked import AskedScorer, SaidAnswer
from legorec.texts.answer_log import AnswerLog
from legorec.texts.budget import Budget, Prices
from legorec.texts.lookup import Lookup
from legorec.texts.secrets import secrets_of_environment

if TYPE_CHECKING:
    from legorec.settings import Settings
    from legorec.settings.asked import AskedSettings


def asked(settings: Settings, device: torch.device, processes: Processes = ALONE) -> Task:
    """The task of a model with the family ``asked``.

    Raises:
        ValueError: something the user can mend in the settings or the store.
    """
    if processes.world > 1:
        raise ValueError("a language model that is asked for texts is measured in one process")
    chosen = cast("AskedSettings", settings.model)
    data = opened(settings, needed_splits(settings), None)
    segments = [segment_of(each) for each in chosen.prompt.segments if each.when]
    prompt = SpelledPrompt(segments, data.store, data.histories)
    SaidAnswer(prompt.answer)  # refuses answers that texts cannot be told to say
    limits = chosen.budget
    prices = None if limits.prices is None else Prices(**limits.prices.model_dump())
    budget = Budget(**limits.model_dump(exclude={"prices"}), prices=prices)
    return Task(
        model=nn.Module(),
        learning=_no_learning,
        scorer=lambda split: AskedScorer(
            prompt,
            data.impressions(split),
            lambda: lookup_of(chosen, device),
            budget,
            chosen.generator.structured,
            data.place(split),
            settings.exp.evaluation.batch_size,
        ),
        baselines=lambda split: untrained_scorers(data, split, settings),
        slices=lambda split: slicings(data, split, settings),
        place=str(data.store.path),
        said=[*data.filtered, *left_out(data, settings), f"answers: {chosen.log}"],
        zero_shot=True,
    )


def _no_learning() -> Learning:
    raise ValueError("a model that is asked for texts cannot be trained")


@contextmanager
def lookup_of(chosen: AskedSettings, device: torch.device) -> Iterator[Lookup]:
    """The open log of answers, with what asks for those that it lacks."""
    named = chosen.generator
    key = getattr(named, "key_env", None)
    secrets = secrets_of_environment([key] if key else [])
    generator = LazyGenerator(identity_of(named), lambda: generator_of(named, device))
    Path(chosen.log).parent.mkdir(parents=True, exist_ok=True)
    with AnswerLog(Path(chosen.log), secrets=secrets) as log:
        yield Lookup(generator, parameters_of(chosen.parameters), log)
