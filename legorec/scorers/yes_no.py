"""Scores of impressions by the answer that a prompted model gives to each candidate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor, nn

from legorec.batch import Turn
from legorec.data.evaluation import Impressions
from legorec.halving import Halving
from legorec.nn.device import module_device
from legorec.processes import Processes
from legorec.prompts import Prompt
from legorec.scorers.impression_rows import ImpressionRows
from legorec.scorers.paging import BATCH_SIZE


@dataclass
class YesNoScorer(ImpressionRows):
    """Log-odds of yes against no for every candidate of a split.

    Args:
        batch_size: impressions at a time.
        place: the split, for messages.
    """

    model: nn.Module  # a ``CausalModel``, or any that scores rows of tokens
    prompt: Prompt
    data: Impressions
    place: str = "the split"
    batch_size: int = 32

    def turns(self, processes: Processes, say: Callable[[str], None]) -> Iterator[Turn]:
        """Pages of impressions, dealt out among the processes."""
        halved = Halving(self.batch_size, BATCH_SIZE, say)
        for number, rows, done in self.dealt(self.batch_size, processes):
            pages: list[tuple[np.ndarray, Tensor]] = []
            if len(rows):
                pages += halved.pages(rows, partial(self._page, number), "impression {} of the split".format)
            yield Turn(pages, done)

    def _page(self, number: int, rows: np.ndarray) -> tuple[np.ndarray, Tensor]:
        batch, place = self.data.batch(rows, number=number)
        prompts = self.prompt(batch, answered=False)
        return place[batch.candidate_mask.numpy()], self.model(prompts.to(module_device(self.model)))
