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
from legorec.lm.answering import CausalModel
from legorec.lm.lora import LoRA
from legorec.lm.untrained import Untrained
from legorec.metrics import evaluate
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
