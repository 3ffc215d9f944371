"""Whole-corpus ranking: where the clicks that are held out stand among all items, for any family."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import Others, Ranking, Turn
from legorec.data.evaluation import Impressions
from legorec.data.list_facts import clicked_before
from legorec.halving import Halving
from legorec.item_lists import ItemFacts, ItemLists
from legorec.nn.sending import sent
from legorec.processes import Processes
from legorec.scorers.corpus_scores import CorpusScores
from legorec.scorers.impression_rows import ImpressionRows
from legorec.scorers.paging import BATCH_SIZE
from legorec.scorers.top_items import SCORES, best_of


@dataclass
class RetrievalScorer(ImpressionRows):
    """Ranks by counting: of each click, how many items score higher and how many the same.

    Of the scores of all items, those of one page of impressions are kept, at most ``SCORES`` of them or those
    of one impression. A click competes with the items that are not clicked in its impression.

    Args:
        model: what the pass puts into evaluation mode.
        data: the clicks alone, see ``legorec.data.held_out``.
        corpus: (C,) rows of the catalogue, ascending, every click among them.
        masked: an item of the user's history is no candidate, however long ago, unless it is clicked again.
        longest: length of the lists of best items that ``lists`` gets; 0: none.
        facts: of the items, for figures about these lists; None: the ranking comes without them.
        batch_size: impressions at a time, at most.
    """

    columns: ClassVar[int] = 4  # score, and ``Others``

    model: nn.Module
    data: Impressions
    corpus: np.ndarray
    scores: CorpusScores
    place: str = "the split"
    masked: bool = True
    longest: int = 0
    facts: ItemFacts | None = None
    batch_size: int = 256
    lists: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))  # (I, longest), see below

    def turns(self, processes: Processes, say: Callable[[str], None]) -> Iterator[Turn]:
        """Pages of impressions, dealt out among the processes; afterwards ``lists`` holds the best items.

        They are rows of the catalogue, best first, ties in their order, and -1 where fewer are left.
        """
        count, items = len(self.data), len(self.corpus)
        self._place = np.full(self.data.num_items, -1, dtype=np.int64)
        self._place[self.corpus] = np.arange(items)
        self._clicked = self.data.histories.whole()
        self.lists = np.zeros((count, min(self.longest, items)), dtype=np.int64)
        yield from self.scores.begin(processes, say)
        size = max(1, min(self.batch_size, SCORES // items))
        halved = Halving(size, BATCH_SIZE, say)
        for _, rows, done in self.dealt(size, processes):
            pages: list[tuple[np.ndarray, Tensor]] = []
            if len(rows):
                pages += halved.pages(rows, self._page, "impression {} of the split".format)
            yield Turn(pages, done)
        processes.merge(torch.from_numpy(self.lists))

    def ranking(self, values: np.ndarray) -> Ranking:
        """From the values of all clicks (R, 4)."""
        score, above, tied, every = values.T
        others = Others(above.astype(np.int64), tied.astype(np.int64), every.astype(np.int64))
        found = Ranking(self.group, self.label, score.astype(np.float32), self.group_by, others)
        return found if self.facts is None else replace(found, lists=self._item_lists(self.facts))

    def _item_lists(self, facts: ItemFacts) -> ItemLists:
        """Before the pass, as if every user had the first items of the corpus."""
        if len(self.lists):
            items = self.lists
        else:
            best = self.corpus[: self.longest]
            items = np.broadcast_to(best, (len(self.data), len(best)))
        group = np.asarray(self.data.interactions.numbers)
        return ItemLists(group, items, clicked_before(self.data, facts.num_real), facts)

    def _page(self, rows: np.ndarray) -> tuple[np.ndarray, Tensor]:
        every = self.scores(rows).float()
        item, place, mask = self.data.candidates(rows)
        row, column = np.nonzero(mask)
        click, own, row_R, column_R = sent(
            every.device, self._place[item[mask]], np.where(mask, self._place[item], 0), row, column
        )
        score_BK = every.gather(1, own)
        wrong_B1 = every.isnan().any(1, keepdim=True)
        if self.masked:  # NaN is above, below and equal to nothing
            history, there = self._clicked.padded(self.data.interactions.span[rows])
            before = np.where(there, self._place[history], -1)
            of, at = np.nonzero(before >= 0)
            every[sent(every.device, of, before[of, at])] = torch.nan
            every[row_R, click] = score_BK[row_R, column_R]
        if self.lists.size:
            self._keep_best(every, rows)
        every[row_R, click] = torch.nan
        others_B1 = (~every.isnan()).sum(1, keepdim=True)
        above, tied = torch.zeros_like(own), torch.zeros_like(own)
        for number in range(own.shape[1]):  # few; all at once would need as many copies of the scores
            wanted_B1 = score_BK[:, number : number + 1]
            above[:, number] = (every > wanted_B1).sum(1)
            tied[:, number] = (every == wanted_B1).sum(1)
        parts = [score_BK.masked_fill(wrong_B1, torch.nan), above, tied, others_B1.expand_as(own)]
        values = torch.stack([each.double() for each in parts], 2)
        return place[mask], values[row_R, column_R]

    def _keep_best(self, every: Tensor, rows: np.ndarray) -> None:
        best, score = best_of(every.nan_to_num(nan=-torch.inf), self.lists.shape[1])
        chosen = np.where(score.cpu().numpy() == -np.inf, -1, self.corpus[best.cpu().numpy()])
        self.lists[rows] = chosen
