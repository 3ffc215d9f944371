"""What is known of a loss while training goes on."""

from dataclasses import asdict

import pytest
import torch

from legorec.batch import Loss, Term
from legorec.engine.losses import EpochLoss, Progress, StepLoss, TermSums, divided
from legorec.processes import ALONE


def step(word: float, rows: float, words: int, count: int) -> StepLoss:
    totals = {"words": torch.tensor(word), "rows": torch.tensor(rows)}
    terms = {"word": Term(totals["words"], "words"), "row": Term(2 * totals["rows"], "rows")}
    return StepLoss(totals, {"words": words, "rows": count}, terms)


def test_a_loss_is_the_sum_of_its_means_over_all_steps():
    progress = Progress()
    losses = EpochLoss(progress, torch.device("cpu"))
    losses.add(step(3.0, 1.0, 10, 4))
    losses.add(step(1.0, 5.0, 6, 2))
    losses.note()
    assert progress.loss == 4 / 16 + 6 / 6 and progress.terms == {"word": 4 / 16, "row": 12 / 6}


def test_where_an_epoch_is_cut_changes_nothing():
    steps = [step(0.1 * k, 0.7 * k, k, 2 * k) for k in range(1, 6)]
    straight, cut = Progress(), Progress()
    losses = EpochLoss(straight, torch.device("cpu"))
    for each in steps:
        losses.add(each)
    losses.note()
    for each in steps:
        losses = EpochLoss(cut, torch.device("cpu"))
        losses.add(each)
        losses.note()
        cut = Progress.from_json(asdict(cut))
    assert cut == straight
    straight.begin(1)
    assert straight == Progress(epoch=1)


def test_an_epoch_that_an_older_version_began_has_no_terms():
    old = {"epoch": 2, "next_batch": 7, "step": 7, "loss_sum": 6.0, "loss_count": 4, "epoch_done": False}
    progress = Progress.from_json(old)
    assert progress.loss == 1.5
    losses = EpochLoss(progress, torch.device("cpu"))
    two = {"click": Term(torch.tensor(2.0)), "alike": Term(torch.tensor(1.0))}
    losses.add(StepLoss({"examples": torch.tensor(3.0)}, {"examples": 2}, two))
    losses.note()
    assert progress.loss == 1.5 and progress.terms == {}
    progress.begin(3)
    losses = EpochLoss(progress, torch.device("cpu"))
    losses.add(StepLoss({"examples": torch.tensor(3.0)}, {"examples": 2}, two))
    losses.note()
    assert progress.terms == {"click": 1.0, "alike": 0.5}
    assert Progress.from_json({**old, "epoch_done": True}).terms_lack_a_part is False


def test_a_divisor_of_nothing_is_left_out():
    totals = {"words": torch.tensor(0.0), "rows": torch.tensor(6.0)}
    assert divided(totals, {"words": 0, "rows": 3}) == 2.0
    assert divided(totals, {"words": 0, "rows": 0}) is None


def test_terms_are_noted_where_there_are_several():
    sums, terms = {}, TermSums(ALONE)
    terms.add(sums, Loss({"only": Term(torch.tensor(1.0))}))
    assert sums == {} and terms.reduced(sums, torch.device("cpu")) == {}
    two = Loss({"a": Term(torch.tensor(1.0)), "b": Term(torch.tensor(2.0), "rows", weight=0.5)})
    terms.add(sums, two)
    terms.add(sums, two)
    found = terms.reduced(sums, torch.device("cpu"))
    assert {name: (float(each.total), each.per) for name, each in found.items()} == {
        "a": (2.0, "examples"),
        "b": (4.0, "rows"),
    }


def test_the_sum_of_terms_with_several_divisors_is_refused():
    loss = Loss({"a": Term(torch.tensor(1.0)), "b": Term(torch.tensor(2.0), "rows")})
    with pytest.raises(ValueError, match="divided by examples, rows"):
        loss.total  # noqa: B018
