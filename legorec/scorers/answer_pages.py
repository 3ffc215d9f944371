"""Scores of candidates by the answers to their prompts, in pages of so many tokens."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from legorec.abilities import ScoresLists
from legorec.batch import ClickBatch, TokenBatch
from legorec.halving import Halving
from legorec.nn.device import module_device
from legorec.prompts import Prompt

BUDGET = "--exp.evaluation.token_budget"


@dataclass
class AnswerPages:
    """One score for each candidate of a batch of clicks, example after example.

    Args:
        model: a ``CausalModel``, or any that scores rows of tokens.
        shared: read what the candidates of an example have in common once, where the model can; the scores
            are those of whole prompts to 1e-4 in float32.
        token_budget: tokens of the prompts of a page, at most; an example that has more is cut into several
            pages. Halved where memory is short.
        say: called when that happens.
    """

    model: nn.Module
    prompt: Prompt
    shared: bool = True
    token_budget: int = 32768
    say: Callable[[str], None] = warnings.warn
    _halved: Halving = field(init=False)

    def __post_init__(self) -> None:
        self._halved = Halving(self.token_budget, BUDGET, self.say)

    def scores(self, batch: ClickBatch, marks_BH: np.ndarray | None = None) -> Tensor:
        """(R,) float32 of the candidates that are there, in order.

        Args:
            batch: on the host.
            marks_BH: of its clicks, in place of those that are stored.

        Raises:
            NoMemoryError: there is not the memory for one prompt.
        """
        prompts = self.prompt(batch, answered=False, marks_BH=marks_BH)
        example = np.nonzero(batch.candidate_mask.numpy())[0]
        rows = np.arange(len(example))
        if not len(rows):
            return torch.zeros(0)
        lengths = prompts.lengths.numpy()

        def page(some: np.ndarray) -> Tensor:
            return self._page(prompts.take(some), example[some])

        def fitting(left: np.ndarray, size: int) -> int:
            return whole_lists(lengths[left], example[left], size)

        return torch.cat(list(self._halved.pages(rows, page, "prompt {} of a page".format, fitting)))

    def _page(self, prompts: TokenBatch, example: np.ndarray) -> Tensor:
        if self.shared and isinstance(self.model, ScoresLists):
            return self.model.score_lists(prompts, example)
        scores: Tensor = self.model(prompts.to(module_device(self.model)))
        return scores


def whole_lists(lengths: np.ndarray, lists: np.ndarray, size: int) -> int:
    """How many of the first rows make a page of ``size`` tokens: whole lists, or a part of the first one."""
    count = max(1, int(np.searchsorted(lengths.cumsum(), size, side="right")))
    if count == len(lengths) or lists[count] != lists[count - 1]:
        return count
    begins = int(np.searchsorted(lists, lists[count]))
    return begins or count
