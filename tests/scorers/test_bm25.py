"""BM25 against its formula, the traps of common tokenizers, and the baseline that asks for the last item."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from legorec.batch import ClickBatch
from legorec.engine.rank import rank
from legorec.scorers.bm25 import BM25, BM25Baseline, words_of
from legorec.scorers.clicks import ClickScorer
from legorec.scorers.untrained import last_items
from tests.support.small import NUM_ITEMS, impressions

TEXTS = ["a cat sat", "the cat, the CAT", "x", "", "日本の雑誌", "a dog and a cat and a mouse", "x y z"]


def spelled(texts: list[str], query: str, k1: float = 1.5, b: float = 0.75) -> list[float]:
    """The formula, text by text and word by word."""
    words = [Counter(words_of(text)) for text in texts]
    lengths = [sum(each.values()) for each in words]
    mean = sum(lengths) / len(texts)
    found = []
    for own, length in zip(words, lengths, strict=True):
        score = 0.0
        for word in words_of(query):
            having = sum(word in each for each in words)
            if own[word]:
                inverse = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
                score += inverse * own[word] / (own[word] + k1 * (1 - b + b * length / mean))
        found.append(score)
    return found


@pytest.mark.parametrize("sizes", [{}, {"k1": 0.9, "b": 0.4}])
def test_scores_are_those_of_the_formula(sizes: dict[str, float]) -> None:
    queries = [*TEXTS, "cat cat dog", "unknown", "the x unknown cat", "誌"]
    found = BM25(TEXTS, **sizes).scores(queries)
    expected = [spelled(TEXTS, query, **sizes) for query in queries]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_large_random_corpus() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{word}" for word in rng.zipf(1.5, rng.integers(0, 12)) % 50) for _ in range(80)]
    np.testing.assert_allclose(
        BM25(texts).scores(texts[:9]), [spelled(texts, text) for text in texts[:9]], atol=1e-9
    )


def test_an_empty_query_ties_everywhere_and_an_empty_corpus_is_one() -> None:
    assert not BM25(TEXTS).scores(["", "  ", "?!", "unknown"]).any()
    assert BM25(["", "?"]).scores(["a"]).tolist() == [[0.0, 0.0]] and len(BM25(["", "?"])) == 2
    assert BM25(TEXTS).scores([]).shape == (0, len(TEXTS))


def test_single_letters_and_scripts_without_spaces_are_words() -> None:
    assert words_of("O, The Oprah-Magazine: vol. 2_x") == ["o", "the", "oprah", "magazine", "vol", "2", "x"]
    assert words_of("日本の雑誌 ＡＢ１") == ["日", "本", "の", "雑", "誌", "ab1"]
    assert BM25(TEXTS).scores(["本"])[0].nonzero()[0].tolist() == [4]


def test_the_baseline_asks_for_the_last_click() -> None:
    rng = np.random.default_rng(1)
    texts = [" ".join(f"w{word}" for word in rng.integers(0, 30, 4)) for _ in range(NUM_ITEMS)]
    data, model = impressions(), BM25Baseline(texts)
    found, seen = rank(ClickScorer(model, data, fast=False)).score, 0
    for row in range(len(data)):
        start, stop = data.interactions.candidates.offsets[row : row + 2]
        history, mask = data.histories.padded(data.interactions.span[[row]])
        query = texts[history[mask][-1]] if mask.any() else ""
        expected = np.array(spelled(texts, query))[data.interactions.candidates[row]]
        np.testing.assert_allclose(found[start:stop], expected, atol=1e-5)
        seen += bool(expected.any())
    assert seen > 5


def test_without_a_history_there_is_no_last_item() -> None:
    batch, _ = impressions().batch(np.arange(20))
    assert isinstance(batch, ClickBatch)
    found, lengths = last_items(batch), batch.history_mask.sum(1)
    for row, length in enumerate(lengths.tolist()):
        expected = int(batch.items[batch.history[row, length - 1]]) if length else -1
        assert found[row] == expected
    assert (found == -1).any() and torch.is_tensor(lengths)
