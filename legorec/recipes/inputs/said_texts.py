"""The texts that a tuned model says after prompts that end where an item is to follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from legorec.data.evaluation import Impressions
from legorec.data.held_out import over_corpus
from legorec.lm.answering import CausalModel
from legorec.lm.generating import generating
from legorec.prompts import Prompt
from legorec.scorers.bm25 import BM25
from legorec.scorers.round_robin import GeneratedScores
from legorec.texts.from_tokens import texts_after
from legorec.texts.generator import GeneratedText, GenerationParameters

if TYPE_CHECKING:
    from legorec.settings.retrieval import RetrievalSettings


@dataclass
class TunedTexts:
    """Drawn texts for impressions; the model is taken as it is when it is first asked.

    Args:
        longest: an item whose text leaves the least room for the history, so that no prompt tells how long
            its own target is.
    """

    model: CausalModel
    prompt: Prompt
    data: Impressions
    longest: int
    parameters: GenerationParameters

    @cached_property
    def _headed(self) -> Any:
        return generating(self.model)

    def __call__(self, rows: np.ndarray) -> Sequence[Sequence[GeneratedText]]:
        """See ``SaysTexts``."""
        page = over_corpus(self.data, rows, np.array([self.longest]))
        batch, _ = page.batch(np.arange(len(rows)))
        asked = self.prompt(batch, answered=False)
        prompts = [row.tolist() for row in asked.tokens.split(asked.lengths.tolist())]
        return texts_after(
            self._headed,
            prompts,
            self.parameters,
            ends=frozenset(),
            spell=lambda ids: self.prompt.vocabulary.decode(np.asarray(ids, dtype=np.int64)),
        )


def said_scores(
    model: CausalModel,
    prompt: Prompt,
    data: Impressions,
    corpus: np.ndarray,
    chosen: RetrievalSettings,
    seed: int,
) -> GeneratedScores:
    """The scores of a corpus by what the model says; its items' texts are those that the prompt ends with."""
    items = prompt.items_of(str(prompt.said)).take(corpus)
    parameters = GenerationParameters(
        max_tokens=chosen.max_tokens,
        temperature=chosen.temperature,
        stop=tuple(chosen.stop),
        num_texts=chosen.num_texts,
        seed=seed,
    )
    longest = int(corpus[items.lengths.argmax()])
    says = TunedTexts(model, prompt, data, longest, parameters)
    index = BM25([prompt.vocabulary.decode(row) for row in items])
    return GeneratedScores(index, says, chosen.epsilon, chosen.per_token)
