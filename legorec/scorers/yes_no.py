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
from legorec.scorers.paging import BATCH_SIZE


@dataclass
class YesNoScorer:
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

    @property
    def group(self) -> np.ndarray:
        return self.data.group

    @property
    def label(self) -> np.ndarray:
        return self.data.interactions.labels

    @property
    def group_by(self) -> str:
        return self.data.group_by

    def __len__(self) -> int:
        return len(self.data)

    def turns(self, processes: Processes, say: Callable[[str], None]) -> Iterator[Turn]:
        """Pages of impressions, dealt out among the processes."""
        size = self.batch_size
        halved = Halving(size, BATCH_SIZE, say)
        for turn, number in processes.turns(-(-len(self.data) // size)):
            pages: list[tuple[np.ndarray, Tensor]] = []
            if number is not None:
                rows = np.arange(number * size, min((number + 1) * size, len(self.data)))
                pages += halved.pages(rows, partial(self._page, number), "impression {} of the split".format)
            yield Turn(pages, min(turn.stop * size, len(self.data)) - turn.start * size)

    def _page(self, number: int, rows: np.ndarray) -> tuple[np.ndarray, Tensor]:
        batch, place = self.data.batch(rows, number=number)
        prompts = self.prompt(batch, answered=False)
        return place[batch.candidate_mask.numpy()], self.model(prompts.to(module_device(self.model)))
