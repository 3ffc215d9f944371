"""Scores of impressions by the answer that a prompted model gives to each candidate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from legorec.batch import Turn
from legorec.data.evaluation import Impressions
from legorec.processes import Processes
from legorec.prompts import Prompt
from legorec.scorers.answer_pages import AnswerPages
from legorec.scorers.impression_rows import ImpressionRows


@dataclass
class YesNoScorer(ImpressionRows):
    """Log-odds of yes against no for every candidate of a split.

    Args:
        place: the split, for messages.
        marks: (num_clicks,) beside ``data.histories.clicks``; None: the prompt's own, of its own histories.
        batch_size: impressions whose prompts are made at a time.
        shared, token_budget: see ``AnswerPages``.
    """

    model: nn.Module  # a ``CausalModel``, or any that scores rows of tokens
    prompt: Prompt
    data: Impressions
    place: str = "the split"
    batch_size: int = 32
    shared: bool = True
    token_budget: int = 32768
    marks: np.ndarray | None = None

    def turns(self, processes: Processes, say: Callable[[str], None]) -> Iterator[Turn]:
        """Pages of impressions, dealt out among the processes."""
        answers = AnswerPages(self.model, self.prompt, self.shared, self.token_budget, say)
        for number, rows, done in self.dealt(self.batch_size, processes):
            pages: list[tuple[np.ndarray, Tensor]] = []
            if len(rows):
                batch, place = self.data.batch(rows, number=number)
                span = self.data.interactions.span[rows]
                marks_BH = None if self.marks is None else self.data.histories.beside(self.marks, span)
                pages.append((place[batch.candidate_mask.numpy()], answers.scores(batch, marks_BH)))
            yield Turn(pages, done)
