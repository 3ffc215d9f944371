"""Whole-corpus ranking against brute force: ranks, ties, masks, pages, processes and families."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from legorec.batch import ClickBatch, Ranking
from legorec.data.held_out import held_out, over_corpus, with_corpus
from legorec.engine.rank import rank
from legorec.metrics import evaluate, per_group
from legorec.scorers import retrieval
from legorec.scorers.clicks import ClickScorer, needed_items
from legorec.scorers.corpus_scores import AnyScores, TowerScores
from legorec.scorers.retrieval import RetrievalScorer
from tests.support.small import NUM_ITEMS, impressions, recommender

NAMES = ["gauc", "mrr", "rr", "lrap", "ndcg@1", "ndcg@10", "hit@3", "recall@1", "recall@10", "precision@5"]
CORPUS = np.arange(NUM_ITEMS)


class Coarse(nn.Module):
    """Scores with many ties that depend on item and user."""

    def forward(self, batch: ClickBatch) -> torch.Tensor:
        items = batch.items[batch.candidates]
        return ((items * 7 + batch.user[:, None]) % 5).float()


def any_scorer(model: nn.Module, corpus: np.ndarray = CORPUS, **options) -> RetrievalScorer:
    data = held_out(impressions())
    scores = AnyScores(data, corpus, lambda page: ClickScorer(model, page, fast=False))
    return RetrievalScorer(model, data, corpus, scores, **options)


def spelled(model: nn.Module, corpus: np.ndarray, masked: bool) -> Ranking:
    """Every item a row, as no run could hold it."""
    data = held_out(impressions())
    groups, labels, scores = [], [], []
    for row in range(len(data)):
        batch, _ = over_corpus(data, np.array([row]), corpus).batch(np.array([0]))
        with torch.inference_mode():
            score = model.eval()(batch)[0].numpy()
        clicked = np.isin(corpus, data.interactions.candidates[row])
        before = data.histories.whole().padded(data.interactions.span[[row]])
        kept = clicked | ~np.isin(corpus, before[0][before[1]]) if masked else np.ones(len(corpus), bool)
        groups += [data.interactions.numbers[row]] * int(kept.sum())
        labels += clicked[kept].tolist()
        scores += score[kept].tolist()
    return Ranking(np.array(groups), np.array(labels, np.uint8), np.array(scores, np.float32))


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("make", [Coarse, recommender])
def test_every_metric_equals_that_of_all_rows(make, masked: bool) -> None:
    model = make().double()  # in float32 the order of close pairs depends on the processor's matrix products
    counted = rank(any_scorer(model, masked=masked))
    whole = spelled(model, CORPUS, masked)
    found, expected = evaluate(counted, NAMES), evaluate(whole, NAMES)
    assert dict(found) == pytest.approx(dict(expected), abs=1e-6)
    assert (found.num_rows, found.num_groups, found.skipped) == (
        expected.num_rows,
        expected.num_groups,
        expected.skipped,
    )
    for name in NAMES:
        for left, right in zip(per_group(counted, name), per_group(whole, name), strict=True):
            np.testing.assert_allclose(left, right, atol=1e-6)


@pytest.mark.parametrize("name", ["nrms", "naml"])
def test_towers_in_pages_equal_candidates_scored_one_by_one(name: str) -> None:
    model, data = recommender(name).double(), held_out(impressions())
    towers = RetrievalScorer(
        model, data, CORPUS, TowerScores(model, data, CORPUS, item_page_size=7), batch_size=9
    )
    fast, slow = rank(towers), rank(any_scorer(model))
    np.testing.assert_allclose(fast.score, slow.score, atol=1e-5)
    assert dict(evaluate(fast, NAMES)) == pytest.approx(dict(evaluate(slow, NAMES)), abs=1e-4)


def test_a_constant_scorer_has_the_expected_value_of_chance() -> None:
    class Constant(nn.Module):
        def forward(self, batch: ClickBatch) -> torch.Tensor:
            return torch.zeros(tuple(batch.labels.shape))

    ranking = rank(any_scorer(Constant(), masked=False))
    found = evaluate(ranking, ["gauc", "recall@10", "mrr"])
    harmonic = (1 / np.arange(1, NUM_ITEMS + 1)).sum()
    expected = {"gauc": 0.5, "recall@10": 10 / NUM_ITEMS, "mrr": harmonic / NUM_ITEMS}
    assert dict(found) == pytest.approx(expected)


@pytest.mark.parametrize("corpus", [CORPUS[::-1][:40][::-1], CORPUS])
def test_the_order_and_the_pages_of_a_corpus_change_nothing(corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    model, whole = Coarse(), held_out(impressions())
    inside = np.isin(whole.interactions.candidates.values, corpus)
    if not inside.all():
        corpus = np.union1d(corpus, whole.interactions.candidates.values)
    first = evaluate(rank(any_scorer(model, corpus)), NAMES)
    assert dict(first) == pytest.approx(dict(evaluate(spelled(model, corpus, True), NAMES)))
    monkeypatch.setattr(retrieval, "SCORES", 1)  # one impression at a time
    assert dict(evaluate(rank(any_scorer(model, corpus)), NAMES)) == dict(first)


def test_lists_hold_the_best_items_without_the_history() -> None:
    model = recommender()
    scorer = any_scorer(model, longest=4)
    rank(scorer)
    data = scorer.data
    for row in range(0, len(data), 7):
        batch, _ = over_corpus(data, np.array([row]), CORPUS).batch(np.array([0]))
        with torch.inference_mode():
            score = model.eval()(batch)[0].numpy()
        history, mask = data.histories.whole().padded(data.interactions.span[[row]])
        left_out = np.setdiff1d(history[mask], data.interactions.candidates[row])
        score[left_out] = -np.inf
        np.testing.assert_array_equal(scorer.lists[row], np.argsort(-score, kind="stable")[:4])


def test_a_click_that_is_no_number_is_refused() -> None:
    class Broken(nn.Module):
        def forward(self, batch: ClickBatch) -> torch.Tensor:
            scores = torch.rand(tuple(batch.labels.shape))
            scores[:, 3] = torch.nan
            return scores

    with pytest.raises(ValueError, match="NaN"):
        evaluate(rank(any_scorer(Broken())), ["mrr"])


def test_pooled_metrics_are_refused() -> None:
    ranking = rank(any_scorer(Coarse()))
    for name in ("auc", "logloss", "f1@0.5"):
        with pytest.raises(ValueError, match="pooled over all rows"):
            evaluate(ranking, [name])
    with pytest.raises(ValueError, match="clicks alone"):
        Ranking(ranking.group, 1 - ranking.label, ranking.score, others=ranking.others)


def test_held_out_clicks_keep_their_numbers_and_the_corpus_is_needed() -> None:
    whole = impressions()
    data = held_out(whole)
    assert (data.interactions.labels == 1).all() and 0 < len(data) < len(whole)
    owner = np.repeat(np.arange(len(whole)), whole.interactions.candidates.lengths)
    expected = owner[whole.interactions.labels == 1]
    np.testing.assert_array_equal(data.group, expected)
    assert set(CORPUS) == set(needed_items(with_corpus(data, CORPUS)))


def test_two_processes_share_the_pages() -> None:
    from legorec.processes import Processes

    class Half(Processes):
        def merge(self, values: torch.Tensor) -> None:
            pass

    def part(number: int) -> RetrievalScorer:
        scorer = any_scorer(Coarse(), batch_size=9, longest=3)
        halves.append(rank(scorer, processes=Half(number, 2)))
        return scorer

    halves: list[Ranking] = []
    lists = sum(part(number).lists for number in range(2))
    alone = any_scorer(Coarse(), longest=3)
    whole = rank(alone)
    assert halves[0].others is not None and halves[1].others is not None and whole.others is not None
    np.testing.assert_array_equal(halves[0].score + halves[1].score, whole.score)
    np.testing.assert_array_equal(halves[0].others.above + halves[1].others.above, whole.others.above)
    np.testing.assert_array_equal(lists, alone.lists)
