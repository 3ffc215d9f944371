"""Scores of impressions by what a language model says when it is asked about each candidate."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import Turn
from legorec.data.evaluation import Impressions
from legorec.processes import Processes
from legorec.prompts import AnswerSegment
from legorec.prompts.spelled import SpelledPrompt
from legorec.scorers.impression_rows import ImpressionRows
from legorec.texts.asking import Asking, Outcome
from legorec.texts.budget import Budget
from legorec.texts.generator import AnswerFormat, GeneratedText, Message, TextRequest
from legorec.texts.lookup import Lookup


class SaidAnswer:
    """A text as a score: p where it begins with the first word of yes, -p with that of no, 0 else.

    p is the probability of the whole text where the source says it, and 1 where it does not. So a sure yes
    is first and a sure no last; the scores order candidates and are no log-odds.

    Raises:
        ValueError: both answers begin with the same word, or one holds none.
    """

    def __init__(self, answer: AnswerSegment) -> None:
        self.positive, self.negative = (_first_word(text) for text in (answer.positive, answer.negative))
        if not self.positive or not self.negative or self.positive == self.negative:
            raise ValueError(
                f"`prompt.segments.{answer.name}`: {answer.positive!r} and {answer.negative!r} must begin "
                "with two different words, by which a text is told to say one of them"
            )

    def __call__(self, said: GeneratedText) -> float:
        """The score of a text."""
        word, known = _first_word(said.text), said.log_probability
        sign = (word == self.positive) - (word == self.negative)
        return sign * (1.0 if known is None else math.exp(min(0.0, known)))


@dataclass
class AskedScorer(ImpressionRows):
    """What a model says of every candidate of a split; answers that a log holds are not asked again.

    Args:
        asking: opens the source of answers and their log, for as long as a split is scored.
        structured: the source holds the model to one of the two answers.
        batch_size: impressions that are asked about at a time.
    """

    prompt: SpelledPrompt
    data: Impressions
    asking: Callable[[], AbstractContextManager[Lookup]]
    budget: Budget
    structured: bool = False
    place: str = "the split"
    batch_size: int = 256
    model: nn.Module = field(default_factory=nn.Module)  # none of its own

    def turns(self, processes: Processes, say: Callable[[str], None]) -> Iterator[Turn]:
        """Pages of impressions.

        Raises:
            ValueError: the budget is spent, or nothing can be asked at all.
        """
        unclear = failed = 0
        with self.asking() as lookup:
            for number, rows, done in self.dealt(self.batch_size, processes):
                place, scores = self._page(number, rows, lookup)
                failed += int(scores.isnan().sum())
                scores = scores.nan_to_num(0.0)
                unclear += int((scores == 0).sum())
                yield Turn([(place, scores)], done)
        if unclear:
            say(f"{unclear:,} answers say neither, {failed:,} of them did not come; they score 0")

    def _page(self, number: int, rows: np.ndarray, lookup: Lookup) -> tuple[np.ndarray, Tensor]:
        batch, place = self.data.batch(rows, number=number)
        answer, score = self.prompt.answer, SaidAnswer(self.prompt.answer)
        form = AnswerFormat(choices=(answer.positive, answer.negative)) if self.structured else None
        places = place[batch.candidate_mask.numpy()]
        requests = [
            TextRequest(str(row), (Message("user", text),), format=form)
            for row, text in zip(places.tolist(), self.prompt(batch), strict=True)
        ]
        outcome = Asking(lambda: requests, lookup, self.budget, Outcome()).run()
        if outcome.stopped is not None:
            raise ValueError(f"{self.place}: not all candidates were asked about: {outcome.stopped}")
        answers = [lookup.find(request).answer for request in requests]
        found = [math.nan if each is None else score(each.texts[0]) for each in answers]
        return places, torch.tensor(found, dtype=torch.float32)


def _first_word(text: str) -> str:
    found = re.search(r"\w+", text)
    return found.group().casefold() if found else ""
