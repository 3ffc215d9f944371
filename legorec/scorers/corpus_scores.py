"""Scores of every item of a corpus for some impressions, by towers or by any scorer of candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import Turn
from legorec.data.evaluation import Impressions
from legorec.data.held_out import over_corpus, with_corpus
from legorec.nn.device import module_device
from legorec.nn.fused import gather_rows
from legorec.nn.sending import sent
from legorec.processes import ALONE, Processes
from legorec.recommender import Recommender
from legorec.scorers.clicks import needed_items
from legorec.scorers.paging import ItemPages, score_corpus

CELLS = 1 << 14  # pairs of user and item that are scored at a time, or with a click or an interest


class CorpusScores(Protocol):
    """Scores (B, C) of the ``C`` items of a corpus for some impressions of a split."""

    def begin(self, processes: Processes, say: Callable[[str], None]) -> Iterator[Turn]:
        """What is done once, before the first page, by all processes together; turns without scores."""

    def __call__(self, rows: np.ndarray) -> Tensor:
        """(B, C) for ``rows`` (B,), places among the impressions; a row's scores depend on no other row."""


class HasTurns(Protocol):
    """A scorer of the candidates of impressions."""

    def turns(self, processes: Processes, say: Callable[[str], None]) -> Iterator[Turn]:
        """Scores of all rows, page by page."""


@dataclass
class TowerScores:
    """Items are encoded once, each history once a page; candidates are scored in pages of items.

    Args:
        corpus: (C,) rows of the catalogue, ascending.
        item_page_size: items encoded at a time.
    """

    model: Recommender
    data: Impressions
    corpus: np.ndarray
    item_page_size: int = 1024

    def begin(self, processes: Processes, say: Callable[[str], None]) -> Iterator[Turn]:
        """Encode the items."""
        items = needed_items(with_corpus(self.data, self.corpus))
        self._position = np.zeros(self.data.num_items, dtype=np.int64)
        self._position[items] = np.arange(len(items))
        pages = ItemPages(
            self.model, torch.from_numpy(items), self.item_page_size, processes=processes, say=say
        )
        for _ in pages.turns():
            yield Turn([], 0)
        self._table = pages.table()
        own, rows = sent(self._table.device, self._position[self.corpus], self.corpus.astype(np.int64))
        self._vectors, self._rows = self._table.index_select(0, own), rows

    def __call__(self, rows: np.ndarray) -> Tensor:
        """See ``CorpusScores``."""
        interactions, model = self.data.interactions, self.model
        history, mask = self.data.histories.padded(interactions.span[rows])
        history = np.where(mask, history, 0).astype(np.int64)
        clicks = model.clicks_of(
            torch.from_numpy(history),
            torch.from_numpy(mask),
            torch.from_numpy(np.asarray(interactions.user[rows], np.int64)),
            gather_rows(self._table, *sent(self._table.device, self._position[history])),
        )
        return score_corpus(model, model.encode_users(clicks), clicks, self._vectors, self._rows, CELLS)


@dataclass
class BatchScores:
    """A model of click batches, called with whole corpora; a batch has the number of its first impression."""

    model: nn.Module
    data: Impressions
    corpus: np.ndarray

    def begin(self, processes: Processes, say: Callable[[str], None]) -> Iterator[Turn]:
        """Nothing is shared between pages."""
        return iter(())

    def __call__(self, rows: np.ndarray) -> Tensor:
        """See ``CorpusScores``."""
        page = over_corpus(self.data, rows, self.corpus)
        batch, _ = page.batch(np.arange(len(rows)), number=int(rows[0]))
        return self.model(batch.to(module_device(self.model)))


@dataclass
class AnyScores:
    """The scores that a family's own scorer gives to candidates, for a stretch of the corpus at a time.

    Args:
        make: impressions -> their scorer.
        cells: candidates that it is given at a time.
    """

    data: Impressions
    corpus: np.ndarray
    make: Callable[[Impressions], HasTurns]
    cells: int = 1024

    def begin(self, processes: Processes, say: Callable[[str], None]) -> Iterator[Turn]:
        """Nothing is shared between pages."""
        self._say = say
        return iter(())

    def __call__(self, rows: np.ndarray) -> Tensor:
        """See ``CorpusScores``."""
        size = max(1, self.cells // len(rows))
        stretches = [self.corpus[start : start + size] for start in range(0, len(self.corpus), size)]
        return torch.cat([self._stretch(rows, items) for items in stretches], 1)

    def _stretch(self, rows: np.ndarray, items: np.ndarray) -> Tensor:
        scorer = self.make(over_corpus(self.data, rows, items))
        pages = [part for turn in scorer.turns(ALONE, self._say) for part in turn.pages]
        found = torch.cat([score for _, score in pages])
        (place,) = sent(found.device, np.concatenate([place for place, _ in pages]))
        return torch.empty_like(found).index_copy_(0, place, found).view(len(rows), len(items))
