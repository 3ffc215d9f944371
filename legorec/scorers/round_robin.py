"""Items by the texts that a language model says for a user: CALRec's quasi-round-robin retrieval."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from legorec.batch import Turn
from legorec.processes import Processes
from legorec.scorers.bm25 import BM25
from legorec.texts.generator import GeneratedText


def scaled(scores_GN: np.ndarray) -> np.ndarray:
    """Each row from 0, its lowest score, to 1, its highest; all 0 where a row has one score alone."""
    lowest_G1 = scores_GN.min(1, keepdims=True)
    range_G1 = scores_GN.max(1, keepdims=True) - lowest_G1
    return (scores_GN - lowest_G1) / np.where(range_G1 > 0, range_G1, 1)


def quasi_round_robin(scores_GN: np.ndarray, log_probabilities_G: np.ndarray, epsilon: float) -> np.ndarray:
    """(N,) the scores of items by ``G`` texts: ``max over g of exp(epsilon * S_g) * scaled(scores)_g``.

    (CALRec; Li et al., 2024.) ``epsilon`` is small, so the best item of every text comes before the second
    best ones, and these are ordered by the log-probability ``S_g`` of their texts.
    """
    weight_G1 = np.exp(epsilon * np.asarray(log_probabilities_G, dtype=np.float64))[:, None]
    return np.asarray((weight_G1 * scaled(scores_GN)).max(0))


class SaysTexts(Protocol):
    """Impressions -> the texts that a model says for each."""

    def __call__(self, rows: np.ndarray) -> Sequence[Sequence[GeneratedText]]: ...


@dataclass
class GeneratedScores:
    """Scores of a corpus by generated texts, for ``RetrievalScorer``.

    Args:
        index: of the corpus, in its order.
        says: the texts, with their log-probabilities.
        per_token: a text counts with the mean log-probability of its tokens, not their sum.
    """

    index: BM25
    says: SaysTexts
    epsilon: float = 1 / 5000
    per_token: bool = False

    def begin(self, processes: Processes, say: Callable[[str], None]) -> Iterator[Turn]:
        """Nothing is shared between pages."""
        return iter(())

    def __call__(self, rows: np.ndarray) -> Tensor:
        """See ``CorpusScores``."""
        said = self.says(rows)
        distinct = list(dict.fromkeys(each.text for texts in said for each in texts))
        place = {text: number for number, text in enumerate(distinct)}
        found = self.index.scores(distinct)
        return torch.from_numpy(
            np.stack(
                [
                    quasi_round_robin(
                        found[[place[each.text] for each in texts]],
                        np.array([self._log_probability(each) for each in texts]),
                        self.epsilon,
                    )
                    for texts in said
                ]
            )
        )

    def _log_probability(self, text: GeneratedText) -> float:
        assert text.log_probability is not None  # our own models say it
        return text.log_probability / max(1, text.num_tokens or 1) if self.per_token else text.log_probability
