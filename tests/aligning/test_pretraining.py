"""SimCSE and masked language modelling: two terms with two divisors, exact however a step is cut."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from legorec.aligning.masking import MaskedBatch, Masking
from legorec.aligning.pretraining import PretrainedText, PretrainingObjective
from legorec.lm.whole import WholeModel
from legorec.nn.drawing import drawing
from tests.support.texts import batch_of, text_model, tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PretrainedText:
    torch.manual_seed(0)
    return PretrainedText(WholeModel(text_model(tmp_path_factory.mktemp("tiny"))))


def masked(lengths: list[int]) -> MaskedBatch:
    return Masking(tokenizer(), 0.3, seed=1)(batch_of(lengths), 0)


def test_two_views_differ_by_dropout_alone(model: PretrainedText, tmp_path: Path) -> None:
    batch = batch_of([5, 8, 3])
    with drawing(1, 0):
        assert not torch.equal(model.train().views(batch), model.views(batch))
    assert torch.equal(model.eval().views(batch), model.views(batch))
    without = PretrainedText(WholeModel(text_model(tmp_path, dropout=0.0))).train()
    with drawing(1, 0):
        assert torch.equal(without.views(batch), without.views(batch))


def test_terms_are_those_of_the_formula(model: PretrainedText) -> None:
    batch = masked([9, 12, 7, 20])
    model.eval()
    loss = PretrainingObjective(masked_weight=0.1, temperature=0.05)(model, batch)
    views = F.normalize(model.views(batch.texts))
    expected = F.cross_entropy(views @ views.T / 0.05, torch.arange(4), reduction="sum")
    assert torch.allclose(loss.terms["simcse"].total, expected)
    assert loss.terms["mlm"].weight == 0.1 and loss.terms["mlm"].per != loss.terms["simcse"].per
    counts = PretrainingObjective().counts(batch)
    assert counts == {"masked tokens": len(batch.places), "texts": 4}
    per_token = float(loss.terms["mlm"].total.detach()) / len(batch.places)
    assert 0.5 * math.log(97) < per_token < 2 * math.log(97)  # of an untrained head


def test_the_head_runs_on_masked_tokens_alone(model: PretrainedText) -> None:
    batch = masked([9, 12])
    rows: list[int] = []
    hook = model.tell.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    model.token_losses(batch)
    hook.remove()
    assert rows == [len(batch.places)]


def test_masked_sums_add_over_batches(model: PretrainedText) -> None:
    model.eval()
    whole = model.token_losses(masked([9, 12, 7])).sum()
    batch = batch_of([9, 12, 7])
    masking, ends, total = Masking(tokenizer(), 0.3, seed=1), [0, 9, 21, 28], torch.zeros(())
    for row in range(3):
        part = slice(ends[row], ends[row + 1])
        one = type(batch)(batch.items[row : row + 1], batch.tokens[part], batch.lengths[row : row + 1])
        total = total + model.token_losses(masking(one, 0)).sum()
    assert torch.allclose(whole, total, rtol=1e-5)
