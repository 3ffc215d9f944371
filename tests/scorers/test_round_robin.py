"""Items by generated texts: the laws of quasi-round-robin, and retrieval by them in one ranking pass."""

from __future__ import annotations

import time

import numpy as np
import pytest
from torch import nn

from legorec.data.held_out import held_out
from legorec.engine.rank import rank
from legorec.metrics import evaluate
from legorec.scorers.bm25 import BM25
from legorec.scorers.retrieval import RetrievalScorer
from legorec.scorers.round_robin import GeneratedScores, quasi_round_robin, scaled
from legorec.texts.generator import GeneratedText
from tests.support.small import NUM_ITEMS, impressions

RNG = np.random.default_rng(0)
SCORES = RNG.random((5, 40)) * 0.8
SCORES[np.arange(5), np.arange(5) * 3] = 1.0  # the best item of each text
SCORES *= RNG.integers(1, 9, (5, 1))
LOGS = np.array([-12.0, -3.0, -40.0, -7.5, -9.0])
TEXTS = [
    f"Title: thing number {number} of kind {number % 7}. Brand: {number % 5}." for number in range(NUM_ITEMS)
]


def order(scores_N: np.ndarray) -> list[int]:
    return np.argsort(-scores_N, kind="stable").tolist()


def test_scaled_scores_lie_between_0_and_1() -> None:
    found = scaled(np.concatenate([SCORES, np.full((1, 40), 3.0)]))
    assert found.min() == 0 and found[:-1].max(1).tolist() == [1.0] * 5
    assert not found[-1].any(), "a text that tells no item from another"


def test_without_epsilon_it_is_the_maximum() -> None:
    np.testing.assert_allclose(quasi_round_robin(SCORES, LOGS, 0.0), scaled(SCORES).max(0))


def test_one_text_gives_the_order_of_bm25() -> None:
    index = BM25(TEXTS)
    for query in (TEXTS[7], "kind 3 brand 2", "thing"):
        found = index.scores([query])
        for epsilon in (0.0, 1 / 5000, 1.0):
            assert order(quasi_round_robin(found, LOGS[:1], epsilon)) == order(found[0])


@pytest.mark.parametrize("epsilon", [1 / 5000, 1 / 500])
def test_the_first_items_are_the_best_of_each_text_by_its_probability(epsilon: float) -> None:
    best = SCORES.argmax(1)
    assert len(set(best)) == len(best)
    second = np.sort(scaled(SCORES), 1)[:, -2].max()
    assert second < np.exp(epsilon * (LOGS.min() - LOGS.max())), "the rule's condition"
    found = order(quasi_round_robin(SCORES, LOGS, epsilon))
    assert found[: len(best)] == best[np.argsort(-LOGS)].tolist()


def test_the_order_of_texts_changes_nothing() -> None:
    turned = RNG.permutation(5)
    found = quasi_round_robin(SCORES[turned], LOGS[turned], 1 / 5000)
    np.testing.assert_array_equal(found, quasi_round_robin(SCORES, LOGS, 1 / 5000))


def scorer(says, **options) -> RetrievalScorer:
    data = held_out(impressions())
    scores = GeneratedScores(BM25(TEXTS), says, **options)
    return RetrievalScorer(nn.Identity(), data, np.arange(NUM_ITEMS), scores, masked=False)


def test_whoever_says_the_item_itself_ranks_it_first() -> None:
    data = held_out(impressions())

    def says(rows: np.ndarray) -> list[list[GeneratedText]]:
        wanted = [int(data.interactions.candidates[row][0]) for row in rows]
        return [[GeneratedText(TEXTS[item], -5.0, 4), GeneratedText("brand", -9.0, 4)] for item in wanted]

    ranking = rank(scorer(says))
    first = np.unique(ranking.group, return_index=True)[1]
    assert ranking.others is not None
    assert not ranking.others.above[first].any() and not ranking.others.tied[first].any()
    assert evaluate(ranking, ["hit@1"])["hit@1"] == 1.0


def test_whoever_says_nothing_has_the_expected_value_of_chance() -> None:
    ranking = rank(scorer(lambda rows: [[GeneratedText("", -1.0, 0)]] * len(rows)))
    assert evaluate(ranking, ["recall@10"])["recall@10"] == pytest.approx(10 / NUM_ITEMS, abs=0.05)
    assert evaluate(ranking, ["gauc"])["gauc"] == 0.5


def test_a_mean_or_a_sum_of_log_probabilities() -> None:
    long, short = GeneratedText(TEXTS[3], -8.0, 8), GeneratedText(TEXTS[4], -2.0, 1)
    rows = np.arange(1)
    for per_token, first in ((False, 4), (True, 3)):
        scores = GeneratedScores(BM25(TEXTS), lambda _: [[long, short]], 0.001, per_token)
        assert int(scores(rows)[0].argmax()) == first


@pytest.mark.slow
def test_texts_by_the_thousand_within_seconds() -> None:
    """24,512 texts over 2,589 items, 32 for each of 766 users, in processor time."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, 6001)
    drawn = iter(rng.choice(6000, (2589 + 24_512, 6), p=weights / weights.sum()).tolist())

    def text() -> str:
        title = " ".join(f"word{number}" for number in next(drawn))
        return f"Title: {title}. Category: Magazine. Brand: Unknown. Price: Unknown."

    corpus = [text() for _ in range(2589)]
    said = [[GeneratedText(text(), -rng.random() * 30, 20) for _ in range(32)] for _ in range(766)]
    start = time.process_time()
    scores = GeneratedScores(BM25(corpus), lambda rows: [said[row] for row in rows])
    for rows in np.array_split(np.arange(766), 12):
        assert scores(rows).shape == (len(rows), 2589)
    assert time.process_time() - start < 10
