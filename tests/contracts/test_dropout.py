"""Dropout belongs to items and examples: a batch in training equals its halves, and pages, computed apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from legorec import registry
from legorec.batch import ClickBatch
from legorec.data.clicks import ClickStream, TrainingClicks
from legorec.lm.lora import LoRA
from legorec.nn.dice import Dice
from legorec.nn.drawing import drawing
from legorec.processes import ALONE, Processes
from legorec.recommender import Recommender
from tests.contracts.test_grid import ITEMS, PLUGGED, USERS, Bricks, Combination, a_few, data, said
from tests.support.bricks import NUM_ITEMS

# Of every brick that has one; ``num_layers`` for what lies between two layers.
DROPPING = {"dropout": 0.3, "mask_rate": 0.3, "lora": LoRA(r=2, dropout=0.3), "num_layers": 2}


def share(processes: Processes = ALONE) -> ClickBatch:
    """A batch of twelve examples, or a part of it with distinct items and a padding of its own."""
    stream = ClickStream(
        TrainingClicks(*data(), NUM_ITEMS),
        batch_size=12,
        num_negatives=2,
        positives_only=True,
        seed=1,
        processes=processes,
    )
    return stream.batch(0)


def built(chosen: Combination) -> Recommender:
    """The model of a combination with dropout everywhere, in training."""
    bricks = Bricks(*chosen[:2], **DROPPING)
    model = bricks.model(chosen).train()
    for module in model.modules():
        if isinstance(module, Dice):
            module.eval()  # its means are of a batch, and it says so
    for name, value in model.named_parameters():
        if name.endswith(".users") or ".lora_B." in name:
            nn.init.normal_(value)  # zero at first, as are the gradients of what is dropped then
    return model


def scored(
    model: Recommender, batch: ClickBatch, first: int = 0, step: int = 3
) -> tuple[Tensor, list[Tensor]]:
    """Scores, and gradients of the sum of their squares."""
    model.zero_grad()
    with drawing(7, step, first):
        scores = model(batch)
    scores.square().sum().backward()
    given = [each.grad for each in model.parameters()]
    return scores.detach(), [torch.zeros(()) if each is None else each for each in given]


def disagreement(chosen: Combination) -> str:
    """What of a combination depends on how its batch is cut; nothing where all is well."""
    model, whole = built(chosen), share()
    scores, grads = scored(model, whole)
    parts, sums, first = [], [torch.zeros(())] * len(grads), 0
    for rank in range(3):
        batch = share(Processes(rank, 3))
        found, of_part = scored(model, batch, first)
        parts.append(found)
        sums = [one + other for one, other in zip(sums, of_part, strict=True)]
        first += len(found)
    assert first == len(scores) == 12
    cuts = {"shares": (torch.cat(parts), sums)}
    if not model.reads_states:
        model.item_page_size = 3
        cuts["pages"] = scored(model, whole)
        model.item_page_size = 0
    wrong = [
        cut
        for cut, (its, gradients) in cuts.items()
        if not torch.allclose(its, scores, rtol=1e-4, atol=1e-5)
        or not all(torch.allclose(*both, rtol=1e-3, atol=1e-4) for both in zip(gradients, grads, strict=True))
    ]
    if not torch.equal(scores, scored(model, whole)[0]):
        wrong.append("chance")
    if drops(model) and torch.equal(scores, scored(model, whole, step=4)[0]):
        wrong.append("no dropout")
    return f"{said(chosen)}: {', '.join(wrong)}" if wrong else ""


def drops(model: Recommender) -> bool:
    """Whether any of its layers drops something."""
    rates = [(getattr(each, "rate", 0.0), getattr(each, "mask_rate", 0.0)) for each in model.modules()]
    return any(map(any, rates))


FEW = a_few(36)
PARTLY_SLOW = [pytest.param(each, marks=[pytest.mark.slow] if n >= 10 else []) for n, each in enumerate(FEW)]


@pytest.mark.parametrize("chosen", PARTLY_SLOW, ids=said)
def test_scores_and_gradients_of_a_batch_are_those_of_its_parts(chosen):
    assert disagreement(chosen) == ""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("side", ["items", "users"])
def test_every_item_side_and_every_user_side_too(side):
    softmax, user, item = ("sampled_softmax",), ("nrms", None, "dot"), ("table", "nrms")
    if side == "items":
        chosen = [(*each, *user, *softmax) for each in ITEMS]
    else:
        chosen = [
            (*item, encoder, plugin, predictor, *softmax)
            for encoder, predictor in USERS
            for plugin in (None, *registry.names("user_plugin"))
            if plugin is None or ((encoder, plugin) in PLUGGED and predictor in ("dot", "miner", "bst"))
        ]
    assert len(chosen) >= 38
    assert [wrong for each in chosen if (wrong := disagreement(each))] == []
