"""Scores of impressions by how likely a prompted model finds the response to each candidate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import TokenBatch, Turn
from legorec.data.evaluation import Impressions
from legorec.halving import Halving
from legorec.nn.device import module_device
from legorec.nn.row_places import row_places
from legorec.processes import Processes
from legorec.prompts import Prompt
from legorec.prompts.learning import SaysTokens
from legorec.scorers.impression_rows import ImpressionRows
from legorec.scorers.paging import BATCH_SIZE

LEAST = 1e-7  # of a mean loss, so that log-odds are finite


@dataclass
class ResponseScorer(ImpressionRows):
    """Log-odds of the response of every candidate of a split.

    The odds are those of exp(-m), the geometric mean of the probabilities of its tokens, so that ``logloss``
    over rows with label 1 is the mean over rows of m, the mean loss of a token.

    Relations: the dev loss of training (``policy.simple_dev``) is a mean over all tokens, in which long
    responses weigh more.

    Args:
        batch_size: impressions at a time.
        place: the split, for messages.
    """

    model: nn.Module  # a ``CausalModel``, or any that knows how likely tokens are
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
        prompts = self.said_alone(self.prompt(batch))
        model, there = cast(SaysTokens, self.model), prompts.to(module_device(self.model))
        loss_S = model.negative_log_likelihood(there).cpu().float()
        start, stop = self._span(prompts)
        counts = torch.from_numpy(stop - start)
        row = torch.arange(len(counts)).repeat_interleave(counts)
        total = torch.zeros(len(counts)).index_add(0, row, loss_S)
        mean = (total / counts.clamp(min=1)).clamp(min=LEAST)
        return place[batch.candidate_mask.numpy()], -mean - torch.log(-torch.expm1(-mean))

    def said_alone(self, batch: TokenBatch) -> TokenBatch:
        """The batch with the tokens of the response to be said, whatever training learns."""
        start, stop = self._span(batch)
        begins = (batch.ends + 1 - batch.lengths).numpy()
        return replace(batch, learned=torch.from_numpy(row_places(begins + start, stop - start)))

    def _span(self, batch: TokenBatch) -> tuple[np.ndarray, np.ndarray]:
        assert self.prompt.response is not None
        start, stop = batch.spans[self.prompt.response.name].numpy().T
        return start, stop
