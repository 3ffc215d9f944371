"""CALRec's loss: plain tuning without its contrasts, the formulas with them, and the same in chunks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from legorec.batch import TokenBatch
from legorec.engine.fit import FitOptions, Progress, fit
from legorec.engine.optim import make_optimizer
from legorec.lm.answering import CausalModel
from legorec.lm.lora import LoRA
from legorec.lm.pretrained import Pretrained
from legorec.lm.two_towers import TwoTowerModel
from legorec.lm.untrained import Untrained
from legorec.objectives.contrast.calrec import CALRecObjective
from legorec.prompts.learning import TokenObjective
from tests.lm.test_two_towers import batch_of
from tests.support.tiny import random_model

KINDS = ["scratch", "lora"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    random_model("llama", head=True).save_pretrained(folder)
    return folder


def language(kind: str, checkpoint, dropout: float = 0.3) -> CausalModel:
    torch.manual_seed(0)
    if kind == "scratch":
        return CausalModel(Untrained(97, 16, 2, 2), lora=LoRA(enabled=False))
    model = CausalModel(Pretrained(checkpoint), lora=LoRA(r=2, alpha=4.0, dropout=dropout))
    for name, value in model.named_parameters():
        if ".lora_B" in name:
            torch.nn.init.normal_(value, std=0.1)
    return model


class Batches:
    """Three batches of an epoch."""

    seed = 1

    def epoch(self, number: int) -> range:
        return range(3 * number, 3 * number + 3)

    def batch(self, number: int) -> TokenBatch:
        return batch_of(seed=number)


def trained(model: torch.nn.Module, objective) -> Iterator[torch.Tensor]:
    """The learned weights after two epochs with dropout, and the loss."""
    steps = fit(model, Batches(), objective, make_optimizer(model, lr=1e-2), FitOptions(), Progress())
    loss = [next(steps).loss for _ in range(2)]
    yield torch.tensor(loss, dtype=torch.float64)
    yield from (value.detach() for value in model.parameters() if value.requires_grad)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per", ["examples", "tokens"])
def test_without_contrasts_it_is_plain_tuning_bit_for_bit(kind, per, checkpoint):
    plain = list(trained(language(kind, checkpoint), TokenObjective(per)))
    towers = TwoTowerModel(language(kind, checkpoint), "target")
    found = list(trained(towers, CALRecObjective(0.0, 0.0, per=per)))
    assert len(found) == len(plain) > 4
    assert all(torch.equal(one, other) for one, other in zip(found, plain, strict=True))
    contrasted = TwoTowerModel(language(kind, checkpoint), "target")
    others = list(trained(contrasted, CALRecObjective(0.1, 0.0, per=per)))
    assert not torch.equal(others[1], plain[1])


def test_the_loss_is_the_papers(checkpoint):
    """L_TT and L_UT by their formulas: the target fixed, the softmax over the vectors of the joint pass."""
    model, batch = TwoTowerModel(language("lora", checkpoint), "target").eval(), batch_of()
    loss = CALRecObjective(0.125, 0.025, temperature=0.5)(model, batch)
    losses, user, given = model.joint(batch)
    alone = model.alone(batch)
    for name, vectors in (("target", given), ("user", user)):
        total = 0.0
        for i in range(4):
            cosines = torch.stack([F.cosine_similarity(vectors[j], alone[i], dim=0) for j in range(4)])
            total -= (cosines / 0.5).log_softmax(0)[i].item()
        assert loss.terms[name].total.item() == pytest.approx(total, rel=1e-5)
    assert loss.terms["language"].total.item() == pytest.approx(losses.sum().item(), rel=1e-5)
    assert [each.weight for each in loss.terms.values()] == pytest.approx([0.85, 0.125, 0.025])
    assert {each.per for each in loss.terms.values()} == {"examples"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [1, 3, 4])
def test_chunks_give_the_gradients_of_the_whole_batch(kind, chunk, checkpoint):
    """With dropout: one step of plain gradient descent."""
    found = []
    for size in (None, chunk):
        model = TwoTowerModel(language(kind, checkpoint), "target", project_dim=5)
        optimizer = torch.optim.SGD([{"params": model.parameters(), "lr": 0.1, "base_lr": 0.1}])
        objective = CALRecObjective(0.3, 0.2, per="tokens", chunk=size)
        next(fit(model, Batches(), objective, optimizer, FitOptions(), Progress()))
        found.append([value.detach() for value in model.parameters() if value.requires_grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_identical_targets_are_no_negatives_of_each_other(checkpoint):
    model, batch = TwoTowerModel(language("lora", checkpoint), "target").eval(), batch_of()
    texts = np.array([7, 8, 7, 9])
    plain, masked = (CALRecObjective(texts_N=numbers)(model, batch).terms for numbers in (None, texts))
    for name in ("target", "user"):
        assert masked[name].total < plain[name].total
    assert torch.equal(masked["language"].total, plain["language"].total)


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.5), (-0.1, 0.0), (0.125, -0.025)])
def test_weights_that_leave_nothing_or_push_apart_are_refused(alpha, beta):
    with pytest.raises(ValueError, match="`alpha` and `beta` must be at least 0 and add up to less than 1"):
        CALRecObjective(alpha, beta)
