"""Who competes with a click that is measured: the candidates of its impression, or all items of the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from legorec.data.held_out import held_out, with_corpus
from legorec.engine.rank import Scorer
from legorec.metrics import longest_list
from legorec.recipes.inputs.list_facts import item_facts
from legorec.recipes.outputs.judged import dev_metrics
from legorec.scorers.corpus_scores import AnyScores, CorpusScores
from legorec.scorers.retrieval import RetrievalScorer
from legorec.settings.modes import MODES

if TYPE_CHECKING:
    from legorec.data.evaluation import Impressions
    from legorec.recipes.inputs.store_data import Data
    from legorec.settings import Settings


def ranks_all_items(settings: Settings) -> bool:
    """Whether every item is a candidate."""
    return settings.exp.evaluation.candidates == "full"


def corpus_of(data: Data, split: str) -> np.ndarray:
    """(C,) the items that are ranked: not generated ones, nor what the filters of the split leave out."""
    kept = np.arange(data.num_items) < data.num_real
    for rule in data.rules(split):
        if rule.items is not None:
            kept &= rule.items
    return np.flatnonzero(kept)


def measured_impressions(data: Data, split: str, settings: Settings) -> Impressions:
    """The impressions of a split, or the clicks among them where every item is a candidate."""
    impressions = data.impressions(split)
    return held_out(impressions) if ranks_all_items(settings) else impressions


def needed_impressions(data: Data, split: str, settings: Settings) -> Impressions:
    """Impressions that show every item that will be scored."""
    found = measured_impressions(data, split, settings)
    return with_corpus(found, corpus_of(data, split)) if ranks_all_items(settings) else found


def measured_scorer(
    data: Data,
    split: str,
    settings: Settings,
    model: nn.Module,
    shown: Callable[[Impressions], Scorer],
    whole: Callable[[Impressions, np.ndarray], CorpusScores] | None = None,
) -> Scorer:
    """The scorer of a split as ``exp.evaluation.candidates`` says.

    Args:
        shown: impressions -> the scorer of their candidates.
        whole: clicks and a corpus -> the scores of all its items; None: by ``shown``, slow but right.

    Raises:
        ValueError: the labels are not known.
    """
    impressions = data.impressions(split)
    if not impressions.interactions.labelled:
        raise ValueError(f"{data.place(split)}: its labels are not known, so nothing can be measured on it")
    if not ranks_all_items(settings):
        return shown(impressions)
    names = dev_metrics(settings)
    longest = longest_list(names)
    clicks, corpus, evaluation = held_out(impressions), corpus_of(data, split), settings.exp.evaluation
    return RetrievalScorer(
        model,
        clicks,
        corpus,
        AnyScores(clicks, corpus, shown) if whole is None else whole(clicks, corpus),
        place=data.place(split),
        masked=evaluation.mask_history,
        longest=longest,
        facts=item_facts(data, settings, names, len(corpus)) if longest else None,
        batch_size=evaluation.batch_size,
    )


def candidates_said(data: Data, settings: Settings) -> list[str]:
    """A line about the items that are ranked, where they are not those of the impressions."""
    if not ranks_all_items(settings):
        return []
    lines = []
    for split in MODES[settings.exp.mode].measures:
        clicks, corpus = measured_impressions(data, split, settings), corpus_of(data, split)
        masked = settings.exp.evaluation.mask_history
        lines.append(
            f"candidates of {split}: all {len(corpus):,} items for {len(clicks):,} impressions with a click, "
            f"{'without' if masked else 'with'} those that the user has clicked before"
        )
    return lines
