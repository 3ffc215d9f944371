"""Scores of impressions: with items and histories encoded once (fast), or batch by batch (plain)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import Turn
from legorec.data.evaluation import Impressions
from legorec.halving import Halving
from legorec.nn.device import module_device
from legorec.nn.sending import sent
from legorec.processes import Processes
from legorec.recommender import Recommender
from legorec.scorers.by_history import HistoryOrder, real_scores, score_histories
from legorec.scorers.impression_rows import ImpressionRows
from legorec.scorers.paging import BATCH_SIZE, ItemPages


@dataclass
class ClickScorer(ImpressionRows):
    """Scores the candidates of a split with a model of click batches.

    ``fast`` is for a :class:`Recommender`: the scores of ``fast=False`` to 1e-5, at the cost of one encoding
    an item and one a history instead of one a slot. Any other model is called batch by batch.

    Args:
        place: the split, for messages.
        batch_size: histories (fast) or impressions (plain) at a time.
        item_page_size: items encoded at a time (fast).

    ``turns`` raises NoMemoryError where there is not the memory for one item, history or impression.
    """

    model: nn.Module
    data: Impressions
    place: str = "the split"
    fast: bool = True
    batch_size: int = 256
    item_page_size: int = 1024

    def turns(self, processes: Processes, say: Callable[[str], None]) -> Iterator[Turn]:
        """Whole pages are dealt out, the same as for one process, so that scores are equal to the bit."""
        if self.fast and isinstance(self.model, Recommender):
            return self._fast(self.model, processes, say)
        return self._plain(processes, say)

    def _plain(self, processes: Processes, say: Callable[[str], None]) -> Iterator[Turn]:
        halved = Halving(self.batch_size, BATCH_SIZE, say)
        for number, rows, done in self.dealt(self.batch_size, processes):
            pages: list[tuple[np.ndarray, Tensor]] = []
            if len(rows) and isinstance(self.model, Recommender):
                run = partial(self._batch, number)
                pages += halved.pages(rows, run, "impression {} of the split".format)
            elif len(rows):  # its scores may depend on the batch that a row is in, as RandomBaseline's do
                pages.append(self._batch(number, rows))
            yield Turn(pages, done)

    def _batch(self, number: int, rows: np.ndarray) -> tuple[np.ndarray, Tensor]:
        batch, place = self.data.batch(rows, number=number)
        mask = batch.candidate_mask.numpy()
        device = module_device(self.model)
        (places,) = sent(device, np.flatnonzero(mask))
        return place[mask], real_scores(self.model(batch.to(device)), places)

    def _fast(self, model: Recommender, processes: Processes, say: Callable[[str], None]) -> Iterator[Turn]:
        data, size = self.data, self.batch_size
        items = needed_items(data)
        position = np.zeros(data.num_items, dtype=np.int64)
        position[items] = np.arange(len(items))
        pages = ItemPages(model, torch.from_numpy(items), self.item_page_size, processes=processes, say=say)
        for _ in pages.turns():
            yield Turn([], 0)
        table, split = pages.table(), HistoryOrder.of(data)
        halved = Halving(size, BATCH_SIZE, say)
        bounds = split.bounds(size)
        for turn, page in processes.turns(len(bounds) - 1):
            scored: list[tuple[np.ndarray, Tensor]] = []
            if page is not None:
                ranks = np.arange(page * size, min((page + 1) * size, len(split.span)))
                members = split.impressions[bounds[page] : bounds[page + 1]]
                run = partial(score_histories, model, data, split, table, position, members, halved)
                for part in halved.pages(ranks, run, lambda each: f"row {split.user[each]} of the users"):
                    scored += part
            yield Turn(scored, int(bounds[turn.stop] - bounds[turn.start]))


def needed_items(data: Impressions) -> np.ndarray:
    """The catalogue rows that the split clicks or shows, ascending."""
    needed = data.histories.used_items(np.unique(data.interactions.span), data.num_items)
    needed[data.interactions.candidates.values] = True
    return np.flatnonzero(needed)
