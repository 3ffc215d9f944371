"""The task of two-tower recommenders, which learn from clicks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from legorec.abilities import NotesSeenItems
from legorec.build import build
from legorec.data.clicks import ClickStream, TrainingClicks
from legorec.data.evaluation import Impressions
from legorec.data.slicing import by_cold_items, by_cold_users, by_history, by_item_field, by_popularity
from legorec.engine.fit import Objective
from legorec.engine.rank import Scorer
from legorec.engine.task import Learning, Task
from legorec.metrics import list_needs
from legorec.processes import ALONE, Processes
from legorec.recipes.centring import centre
from legorec.recipes.inputs.baselines import OF_TRAINING, left_out, untrained_scorers
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.candidates import candidates_said, measured_impressions, measured_scorer
from legorec.recipes.inputs.digests import input_digests
from legorec.recipes.inputs.starting import start_tower
from legorec.recipes.inputs.store_data import Data, open_data
from legorec.recipes.inputs.trained_towers import load_trained
from legorec.recipes.outputs.judged import dev_metrics
from legorec.recommender import Recommender
from legorec.scorers.clicks import ClickScorer
from legorec.scorers.corpus_scores import BatchScores, CorpusScores, TowerScores
from legorec.settings.modes import MODES
from legorec.slices import Slicing

if TYPE_CHECKING:
    from legorec.settings import Settings


class ClickObjective(Objective, Protocol):
    """An objective over clicks, which says what a training example is."""

    num_negatives: int  # items sampled beside each click
    positives_only: bool  # examples are clicks, not all candidates with their labels


def tower(settings: Settings, device: torch.device, processes: Processes = ALONE) -> Task:
    """The task of a model with the family ``tower``.

    Raises:
        ValueError: something the user can mend in the settings or the store.
    """
    data = open_data(settings, needed_splits(settings))
    return click_task(settings, data, build_model(settings, data, device), processes)


def click_task(settings: Settings, data: Data, model: Recommender, processes: Processes = ALONE) -> Task:
    """The task of a model that is already built."""
    return Task(
        model=model,
        learning=lambda: click_learning(settings, data, model, processes),
        scorer=lambda split: labelled_scorer(model, data, split, settings),
        baselines=lambda split: untrained_scorers(data, split, settings, model),
        slices=lambda split: slicings(data, split, settings),
        place=str(data.store.path),
        said=[*data.filtered, *candidates_said(data, settings), *left_out(data, settings, model)],
        load=lambda run: load_trained(run, model, settings, data),
        start=lambda run: start_tower(run, model, settings, data),
    )


def needed_splits(settings: Settings) -> list[str]:
    """The splits that a run reads: what its mode measures, and training clicks where they are counted."""
    mode, exp = MODES[settings.exp.mode], settings.exp
    counts = set(exp.baselines) & set(OF_TRAINING) or "clicks" in list_needs(dev_metrics(settings))
    learns = mode.learns or counts or exp.evaluation.slices is not None
    return [*(["train"] if learns else []), *mode.measures]


def click_learning(
    settings: Settings, data: Data, model: Recommender, processes: Processes = ALONE
) -> Learning:
    """The objective that the settings name, over the clicks of the training split."""
    objective: ClickObjective = build("objective", settings.model.objective, {})
    stream = partial(click_stream, settings, objective=objective, processes=processes)
    note_seen(model, data.training)
    centre(model, data.num_real, settings.exp.policy.item_page_size, processes)

    def dev_stream() -> ClickStream:
        return stream(data.clicks("dev"))

    return Learning(
        objective=objective,
        stream=stream(data.training, epoch_batch=settings.exp.policy.epoch_batch),
        inputs=input_digests(settings, data),
        dev_stream=dev_stream,
        ahead=lambda batch: model.prefetch(batch.items),
    )


def note_seen(model: Recommender, clicks: TrainingClicks) -> None:
    """Tell those modules that have to know which items there are in training, and how often."""
    for module in model.modules():
        if isinstance(module, NotesSeenItems):
            module.note_seen(torch.from_numpy(clicks.seen), torch.from_numpy(clicks.known.counts()))


def click_stream(
    settings: Settings,
    clicks: TrainingClicks,
    *,
    objective: ClickObjective,
    epoch_batch: int = 0,
    processes: Processes = ALONE,
) -> ClickStream:
    """Batches as large as the settings say, with the examples and negatives that the objective wants."""
    return ClickStream(
        clicks,
        batch_size=settings.exp.policy.batch_size,
        num_negatives=objective.num_negatives,
        positives_only=objective.positives_only,
        epoch_batch=epoch_batch,
        seed=settings.seed,
        processes=processes,
    )


def click_scorer(model: Recommender, impressions: Impressions, place: str, settings: Settings) -> ClickScorer:
    """The candidates of some impressions, scored as ``exp.evaluation`` says."""
    evaluation = settings.exp.evaluation
    return ClickScorer(
        model,
        impressions,
        place,
        fast=evaluation.fast,
        batch_size=evaluation.batch_size,
        item_page_size=evaluation.item_page_size,
    )


def labelled_scorer(model: Recommender, data: Data, split: str, settings: Settings) -> Scorer:
    """The candidates of a split that can be measured.

    Raises:
        ValueError: its labels are not known.
    """
    evaluation = settings.exp.evaluation

    def whole(clicks: Impressions, corpus: np.ndarray) -> CorpusScores:
        if evaluation.fast:
            return TowerScores(model, clicks, corpus, evaluation.item_page_size)
        return BatchScores(model, clicks, corpus)

    def shown(impressions: Impressions) -> ClickScorer:
        return click_scorer(model, impressions, data.place(split), settings)

    return measured_scorer(data, split, settings, model, shown, whole)


def slicings(data: Data, split: str, settings: Settings) -> list[Slicing]:
    """The ways to cut a split that ``exp.evaluation.slices`` names."""
    asked, impressions = settings.exp.evaluation.slices, measured_impressions(data, split, settings)
    if asked is None:
        return []
    found = [by_popularity(impressions, data.training, asked.popularity)] if asked.popularity else []
    if asked.popularity and asked.filled is not None:
        filled = data.store.items.field(asked.filled).rows.lengths > 0
        name = f"popularity with {asked.filled}"
        found.append(by_popularity(impressions, data.training, asked.popularity, filled, name))
    found += [by_history(impressions, asked.history)] if asked.history else []
    found += [by_cold_items(impressions, data.training)] if asked.cold_items else []
    found += [by_cold_users(impressions, data.training)] if asked.cold_users else []
    return found + [_by_field(data, impressions, name) for name in asked.item_fields]


def _by_field(data: Data, impressions: Impressions, name: str) -> Slicing:
    """Candidates by a category of theirs."""
    field = data.category(name, "exp.evaluation.slices.item_fields")
    return by_item_field(impressions, name, field.rows, data.store.vocabulary(str(field.vocabulary)))
