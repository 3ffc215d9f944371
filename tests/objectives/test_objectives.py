"""Objectives against a few lines of numpy; what is padding costs nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from legorec.batch import ClickBatch
from legorec.objectives.pointwise import PointwiseObjective
from legorec.objectives.sampled_softmax import SampledSoftmaxObjective
from tests.support import small


class Given(nn.Module):
    """Scores that were given, one for every candidate."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, batch: ClickBatch) -> Tensor:
        return self.scores


def batch_of(objective: PointwiseObjective | SampledSoftmaxObjective, padded: bool) -> ClickBatch:
    """Training examples; with ``padded``, some of their negatives are not there."""
    batch = small.stream(positives_only=objective.positives_only, num_negatives=4).batch(1)
    if padded:
        places = torch.arange(batch.candidate_mask.shape[1])
        kept = places < 1 + torch.arange(len(batch.labels)).unsqueeze(1) % 5
        batch = replace(batch, candidate_mask=batch.candidate_mask & kept)
    return batch


def scores_for(batch: ClickBatch, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch.labels.shape, generator=generator, dtype=torch.float64).mul(3).to(dtype)


def softmax_by_hand(scores: np.ndarray, batch: ClickBatch) -> float:
    total = 0.0
    for row, mask in zip(scores, batch.candidate_mask.numpy(), strict=True):
        total += np.log(np.exp(row[mask]).sum()) - row[0]
    return total


def pointwise_by_hand(scores: np.ndarray, batch: ClickBatch) -> float:
    total = 0.0
    for row, mask, label in zip(scores, batch.candidate_mask.numpy(), batch.labels.numpy(), strict=True):
        chance = 1 / (1 + np.exp(-row[mask]))
        total -= np.log(np.where(label[mask] == 1, chance, 1 - chance)).sum()
    return total


CASES = [(SampledSoftmaxObjective(), softmax_by_hand), (PointwiseObjective(), pointwise_by_hand)]


@pytest.mark.parametrize("objective, by_hand", CASES)
@pytest.mark.parametrize("padded", [False, True])
def test_total_is_the_sum_over_real_candidates(objective, by_hand, padded):
    batch = batch_of(objective, padded)
    scores = scores_for(batch)
    loss = objective(Given(scores), batch)
    assert loss.total.item() == pytest.approx(by_hand(scores.numpy(), batch), rel=1e-10)
    assert loss.total.dtype == torch.float64


@pytest.mark.parametrize("objective", [case[0] for case in CASES])
def test_count_is_the_number_of_examples(objective):
    batch = batch_of(objective, padded=True)
    assert objective.counts(batch) == {"examples": len(batch.user)}
    assert list(objective(Given(scores_for(batch)), batch).totals()) == ["examples"]


@pytest.mark.parametrize("objective", [case[0] for case in CASES])
def test_padding_candidates_are_ignored(objective):
    """Whatever stands there, even what is not a number, and no gradient reaches it."""
    batch = batch_of(objective, padded=True)
    scores = scores_for(batch)
    plain, wild = Given(scores.clone()), Given(scores.clone())
    with torch.no_grad():
        wild.scores[~batch.candidate_mask] = 1e30
    losses = [objective(model, batch).total for model in (plain, wild)]
    assert torch.equal(*losses)
    for loss in losses:
        loss.backward()
    assert torch.equal(plain.scores.grad, wild.scores.grad)
    assert not plain.scores.grad[~batch.candidate_mask].any()
    assert plain.scores.grad[batch.candidate_mask].any()


@pytest.mark.parametrize("objective", [case[0] for case in CASES])
def test_halves_add_up(objective):
    model, batch = small.recommender().eval(), batch_of(objective, padded=True)
    whole = objective(model, batch)
    halves = [objective(model, small.examples(batch, *cut)) for cut in ((0, 3), (3, len(batch.labels)))]
    torch.testing.assert_close(halves[0].total + halves[1].total, whole.total, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("objective", [case[0] for case in CASES])
def test_half_precision_scores_are_summed_in_float32(objective):
    batch = batch_of(objective, padded=True)
    half = scores_for(batch, torch.bfloat16)
    loss = objective(Given(half), batch).total
    assert loss.dtype == torch.float32
    full = objective(Given(half.double()), batch).total
    torch.testing.assert_close(loss.double(), full, rtol=1e-2, atol=0)


def test_large_scores_stay_finite():
    for objective, _ in CASES:
        batch = batch_of(objective, padded=True)
        model = Given(scores_for(batch, torch.float32) * 1e4)
        loss = objective(model, batch).total
        loss.backward()
        assert loss.isfinite() and model.scores.grad.isfinite().all()


def test_settings_are_checked():
    with pytest.raises(ValueError, match="`num_negatives` must be at least 1 for sampled_softmax, got 0"):
        SampledSoftmaxObjective(0)
    with pytest.raises(ValueError, match="`num_negatives` must not be negative, got -1"):
        PointwiseObjective(-1)
    assert PointwiseObjective(0).num_negatives == 0
