"""Impressions whose candidates are all items: the clicks that are held out, and pages of whole corpora."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from legorec.data.evaluation import Impressions
from legorec.data.filters import some_of
from legorec.data.ragged import Ragged


def held_out(data: Impressions) -> Impressions:
    """The clicked candidates alone of those impressions that have one, each impression a group of its own.

    Two impressions of a user have different histories, and so different rankings of the items.
    """
    whole = data.interactions
    clicked = np.asarray(whole.labels) == 1
    found = replace(whole, candidates=whole.candidates.keep(clicked), labels=whole.labels[clicked])
    rows = np.flatnonzero(found.candidates.lengths)
    return Impressions(some_of(found, rows), data.histories, data.num_items)


def over_corpus(data: Impressions, rows: np.ndarray, corpus: np.ndarray) -> Impressions:
    """Some impressions with every item of a corpus as a candidate, in its order and without labels."""
    whole = data.interactions
    shown = np.tile(np.asarray(corpus, np.int32), len(rows))
    page = replace(
        some_of(whole, rows),
        candidates=Ragged.from_lengths(shown, np.full(len(rows), len(corpus))),
        labels=np.zeros(len(shown), np.uint8),
    )
    return Impressions(page, data.histories, data.num_items, data.group_by)


def with_corpus(data: Impressions, corpus: np.ndarray) -> Impressions:
    """The same impressions, of which the first shows the whole corpus: all items that may be asked for."""
    lengths = np.zeros(len(data), dtype=np.int64)
    lengths[:1] = len(corpus)
    shown = Ragged.from_lengths(np.asarray(corpus, np.int32)[: lengths.sum()], lengths)
    labels = np.zeros(len(shown.values), np.uint8)
    found = replace(data.interactions, candidates=shown, labels=labels)
    return Impressions(found, data.histories, data.num_items, data.group_by)
