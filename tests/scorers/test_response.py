"""Scores by a free response are its mean loss, whatever the page and whatever training learns."""

import numpy as np
import pytest
import torch

from legorec.engine.rank import rank
from legorec.lm.answering import CausalModel
from legorec.lm.lora import LoRA
from legorec.lm.untrained import Untrained
from legorec.metrics import evaluate
from legorec.prompts import ItemSegment, ResponseSegment, TextSegment
from legorec.scorers.response import ResponseScorer
from tests.support.prompted import impressions, marked_store, prompt_over

SEGMENTS = (
    TextSegment("ask", "Say the title twice: "),
    ItemSegment("item", "{title}"),
    ResponseSegment("response", "{title} {title}"),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return marked_store(tmp_path_factory.mktemp("marked") / "store", num_users=9)


@pytest.fixture(scope="module")
def model(store):
    torch.manual_seed(0)
    prompt = prompt_over(store, SEGMENTS)
    assert prompt.answer_ids is None
    return CausalModel(Untrained(prompt.vocabulary.size, 16, 2, 2), None, lora=LoRA(enabled=False)).eval()


def by_hand(store, model):
    """The mean loss of the response of each row, one prompt at a time."""
    prompt, data, found = prompt_over(store, SEGMENTS), impressions(store), []
    for row in range(len(data)):
        made = prompt(data.batch(np.array([row]))[0])
        start, stop = made.spans["response"][0].tolist()
        logits = model.logits(model.states(made)).log_softmax(-1)
        said = [logits[place - 1, made.tokens[place]] for place in range(start, stop)]
        found.append(-float(torch.stack(said).mean()))
    return found


@pytest.mark.parametrize("loss_on", ["answer", "all"])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_score_is_the_mean_loss_of_the_response(store, model, size, loss_on):
    prompt = prompt_over(store, SEGMENTS, loss_on=loss_on)
    ranking = rank(ResponseScorer(model, prompt, impressions(store), batch_size=size))
    with torch.inference_mode():
        expected = by_hand(store, model)
    assert np.allclose(np.logaddexp(0, -ranking.score), expected, atol=1e-4)
    told = np.ones_like(ranking.label)
    ranking = type(ranking)(ranking.group, told, ranking.score, ranking.group_by)
    assert evaluate(ranking, ["logloss"])["logloss"] == pytest.approx(np.mean(expected), abs=1e-4)


def test_the_response_is_what_is_learned(store):
    prompt = prompt_over(store, SEGMENTS)
    made = prompt(impressions(store).batch(np.arange(5))[0])
    asked = prompt(impressions(store).batch(np.arange(5))[0], answered=False)
    size = (made.spans["response"][:, 1] - made.spans["response"][:, 0]).sum()
    assert len(made.learned) == size > 0 and len(asked.learned) == 0
    assert (made.lengths - asked.lengths).sum() == size and "response" not in asked.spans
