"""Scores by answers do not depend on what else is asked; a model without an opinion gets an AUC of a half."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from legorec.data.evaluation import Impressions
from legorec.data.histories import Histories
from legorec.data.ragged import Ragged
from legorec.data.store import Interactions
from legorec.engine.rank import rank
from legorec.lm import shared_prefix
from legorec.lm.answering import CausalModel
from legorec.lm.lora import LoRA
from legorec.lm.untrained import Untrained
from legorec.metrics import evaluate
from legorec.scorers.answer_pages import whole_lists
from legorec.scorers.yes_no import YesNoScorer
from tests.support.prompted import TITLES, impressions, marked_store, prompt_over


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return marked_store(tmp_path_factory.mktemp("marked") / "store", num_users=30)


@pytest.fixture(scope="module")
def prompt(store):
    return prompt_over(store)


@pytest.fixture(scope="module")
def model(prompt):
    torch.manual_seed(0)
    return CausalModel(
        Untrained(prompt.vocabulary.size, 16, 2, 2), prompt.answer_ids, lora=LoRA(enabled=False)
    ).eval()


def lists(store):
    """Impressions of 1 to 9 candidates over the test histories."""
    rng = np.random.default_rng(1)
    table = store.interactions("test")
    sizes = rng.integers(1, 10, len(table))
    shown = rng.integers(0, len(TITLES), sizes.sum()).astype(np.int32)
    labels = (rng.random(len(shown)) < 0.4).astype(np.uint8)
    candidates = Ragged.from_lengths(shown, sizes)
    found = Interactions(table.user, table.span, candidates, labels, None, None)
    return Impressions(found, Histories(store.histories, store.spans), len(store.items))


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_scores_do_not_depend_on_the_page(store, prompt, model, size):
    """Nor on the other candidates: each is that of its own prompt."""
    data = lists(store)
    found = rank(YesNoScorer(model, prompt, data, batch_size=size))
    assert np.array_equal(found.label, data.interactions.labels)
    assert np.array_equal(found.group, data.group) and found.group_by == "impression"
    alone = []
    for row in range(len(data)):
        batch, _ = data.batch(np.array([row]))
        with torch.inference_mode():
            asked = prompt(batch, answered=False)
            rows = asked.tokens.split(asked.lengths.tolist())
            for tokens in rows:
                one = SimpleNamespace(tokens=tokens, lengths=torch.tensor([len(tokens)]))
                one.ends = one.lengths - 1
                alone.append(float(model(one)[0]))
    assert np.abs(found.score - np.array(alone)).max() < 1e-5
    assert len(np.unique(found.score)) > 20


@pytest.mark.parametrize("budget", [1, 150, 1000])
def test_what_candidates_have_in_common_is_read_once(store, prompt, model, budget, monkeypatch):
    """The scores are those of whole prompts, in pages of any size; a page without lists is read whole."""
    monkeypatch.setattr(shared_prefix, "OVERHEAD", {"cpu": 0})
    data, read = lists(store), []
    run = CausalModel.padded
    monkeypatch.setattr(
        CausalModel, "padded", lambda self, ids, *more: read.append(len(ids)) or run(self, ids, *more)
    )
    shared, whole = (
        rank(YesNoScorer(model, prompt, data, batch_size=9, shared=each, token_budget=budget))
        for each in (True, False)
    )
    assert np.abs(shared.score - whole.score).max() < 1e-5
    tokens = prompt(data.batch(np.arange(len(data)))[0], answered=False).lengths.sum()
    assert sum(read) < (tokens / 2 if budget > 1 else 1)


def test_pages_hold_whole_lists_where_they_fit():
    lengths, lists = np.full(7, 10), np.array([0, 0, 0, 1, 1, 2, 2])
    assert [whole_lists(lengths, lists, size) for size in (1, 10, 30, 49, 50, 69, 70)] == [
        1,
        1,
        3,
        3,
        5,
        5,
        7,
    ]
    assert whole_lists(lengths[:3], lists[:3], 25) == 2, "a part of a list that is longer than a page"


def test_pages_are_halved_where_memory_is_short(store, prompt, model, monkeypatch):
    data, run, said = lists(store), CausalModel.score_lists, []

    def short(self, batch, places):
        if len(batch.tokens) > 300:
            raise MemoryError("short")
        return run(self, batch, places)

    plain = rank(YesNoScorer(model, prompt, data))
    monkeypatch.setattr(CausalModel, "score_lists", short)
    assert np.abs(rank(YesNoScorer(model, prompt, data), say=said.append).score - plain.score).max() < 1e-5
    assert len(said) == 1 and "--exp.evaluation.token_budget 256, which gives the same result" in said[0]


def test_pairs_are_grouped_by_user(store, prompt, model):
    data = impressions(store)
    found = rank(YesNoScorer(model, prompt, data, batch_size=8))
    assert found.group_by == "user" and np.array_equal(found.group, np.asarray(data.interactions.user))


class Indifferent(nn.Module):
    """Says one thing to everything."""

    def __init__(self):
        super().__init__()
        self.said = nn.Parameter(torch.tensor(0.3))

    def forward(self, batch):
        return self.said * torch.ones(len(batch.lengths))


def test_a_model_without_an_opinion_gets_a_half(store, prompt):
    ranking = rank(YesNoScorer(Indifferent(), prompt, lists(store)))
    values = dict(evaluate(ranking, ["auc", "gauc"]))
    assert values == {"auc": 0.5, "gauc": 0.5}


def test_a_model_without_an_opinion_finds_k_of_21(store, prompt):
    """One click among 21 candidates: ties count at their expected value, and all rows are tied."""
    table, rng = store.interactions("test"), np.random.default_rng(2)
    sizes, count = np.full(len(table), 21), len(TITLES)
    labels = np.zeros((len(table), 21), dtype=np.uint8)
    labels[np.arange(len(table)), rng.integers(0, 21, len(table))] = 1
    candidates = Ragged.from_lengths(rng.integers(0, count, sizes.sum()).astype(np.int32), sizes)
    found = Interactions(table.user, table.span, candidates, labels.reshape(-1), None, None)
    data = Impressions(found, Histories(store.histories, store.spans), count)
    report = evaluate(
        rank(YesNoScorer(Indifferent(), prompt, data)),
        ["auc", "gauc", "recall@1", "recall@3", "recall@10", "mrr"],
    )
    expected = {"auc": 0.5, "gauc": 0.5, "recall@1": 1 / 21, "recall@3": 3 / 21, "recall@10": 10 / 21}
    expected["mrr"] = sum(1 / place for place in range(1, 22)) / 21
    assert dict(report) == pytest.approx(expected)
