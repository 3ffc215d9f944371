"""What a user's interests cost for being alike, in both objectives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from legorec.batch import ClickBatch, Loss
from legorec.engine.fit import FitOptions, Progress, fit
from legorec.objectives import _penalty
from legorec.objectives.pointwise import PointwiseObjective
from legorec.objectives.sampled_softmax import SampledSoftmaxObjective
from legorec.predictors.miner import MINERPredictor
from legorec.recommender import Recommender
from legorec.user_encoders.miner import MINERUserEncoder
from tests.support import small

OBJECTIVES = [SampledSoftmaxObjective, PointwiseObjective]
WEIGHT = 0.8
Objective = SampledSoftmaxObjective | PointwiseObjective


def miner(predictor: nn.Module | None = None) -> Recommender:
    """A small MINER without dropout whose interests differ much."""
    plain = small.recommender(dropout=0.0)
    torch.manual_seed(1)
    encoder = MINERUserEncoder(16, num_interests=4, code_dim=8)
    with torch.no_grad():
        encoder.hidden.weight.mul_(50.0)  # item vectors are short
        encoder.codes.mul_(5.0)
    return Recommender(plain.source, plain.item_encoder, encoder, predictor or MINERPredictor(16))


def batch_of(objective: Objective) -> ClickBatch:
    """Training examples, among them empty histories."""
    batch = small.stream(32, positives_only=objective.positives_only).batch(0)
    assert not batch.history_mask.any(1).all()
    return batch


def alike(interests_BMD: np.ndarray) -> np.ndarray:
    """(B,) the mean cosine of two different interests, 0 where they are zero."""
    found = []
    for interests in interests_BMD:
        lengths = np.linalg.norm(interests, axis=1)
        cosines = interests @ interests.T / np.maximum(np.outer(lengths, lengths), 1e-30)
        found.append(cosines[~np.eye(len(interests), dtype=bool)].mean())
    return np.array(found)


@pytest.mark.parametrize("kind", OBJECTIVES)
@pytest.mark.parametrize("weight", [WEIGHT, 3.0])
def test_the_total_is_the_plain_one_and_the_weighed_sum_over_users(kind, weight):
    model, batch = miner(), batch_of(kind())
    loss, plain = kind(disagreement=weight)(model, batch), kind()(model, batch)
    users = alike(model.encode(batch).user.detach().double().numpy())
    clicks = batch.history_mask.sum(1).numpy()
    assert (users[clicks == 0] == 0).all() and np.median(users[clicks > 1]) < 0.9
    assert loss.total.item() - plain.total.item() == pytest.approx(weight * users.sum(), rel=1e-4)
    penalty = loss.terms["disagreement"]
    assert penalty.total.item() == pytest.approx(users.sum(), rel=1e-4)
    assert penalty.weight == weight and penalty.per == "examples"


def penalty_of(loss: Loss) -> Tensor:
    return loss.terms["disagreement"].total


class Blind(nn.Module):
    """Scores that know nothing of the user."""

    def forward(self, user: Tensor, candidates_BKD: Tensor) -> Tensor:
        return candidates_BKD.sum(2)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_its_gradient_reaches_the_interests(kind):
    model, batch = miner(Blind()), batch_of(kind())
    seen = []
    model.user_encoder.register_forward_hook(lambda *call: seen.append(call[2]) or call[2].retain_grad())
    kind(disagreement=WEIGHT)(model, batch).total.backward()
    assert len(seen) == 1, "users are encoded once, for scores and penalty together"
    grad, there = seen[0].grad, batch.history_mask.any(1)
    assert grad.isfinite().all() and not grad[~there].any()
    several = batch.history_mask.sum(1) > 1
    assert grad[several].flatten(1).any(1).all()
    # With one click all interests are the same vector, which no penalty can part.
    one = batch.history_mask.sum(1) == 1
    assert one.any() and grad[one].abs().max() < 1e-5
    assert all(value.grad.any() for value in model.user_encoder.parameters())


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_step_along_its_gradient_parts_the_interests(kind):
    objective = kind(disagreement=WEIGHT)
    model, batch = miner(Blind()), batch_of(objective)
    before = objective(model, batch)
    before.total.backward()
    with torch.no_grad():
        for value in model.user_encoder.parameters():
            value -= 0.01 * value.grad
    assert penalty_of(objective(model, batch)) < penalty_of(before)


class Given(nn.Module):
    """Scores that were given, of a model that is no recommender."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, batch: ClickBatch) -> Tensor:
        return self.scores


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_without_a_weight_nothing_is_measured(kind, monkeypatch):
    def measured(interests: Tensor) -> Tensor:
        raise AssertionError("measured")

    batch = batch_of(kind())
    plain = kind()(miner(), batch)
    monkeypatch.setattr(_penalty, "disagreement", measured)
    loss = kind(disagreement=0.0)(miner(), batch)
    assert torch.equal(loss.total, plain.total)
    assert list(loss.terms) == list(plain.terms) and len(loss.terms) == 1
    scores = torch.randn(batch.labels.shape, dtype=torch.float64)
    given = kind(disagreement=0)(Given(scores), batch)
    assert given.total.dtype == torch.float64 and len(given.terms) == 1
    by_hand = {
        SampledSoftmaxObjective: lambda: (
            -scores.masked_fill(~batch.candidate_mask, -torch.inf).log_softmax(1)[:, 0].sum()
        ),
        PointwiseObjective: lambda: nn.functional.binary_cross_entropy_with_logits(
            scores[batch.candidate_mask], batch.labels[batch.candidate_mask].double(), reduction="sum"
        ),
    }
    torch.testing.assert_close(given.total.detach(), by_hand[kind]())


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_halves_add_up(kind):
    objective = kind(disagreement=WEIGHT)
    model, batch = miner(), batch_of(objective)
    whole, place = objective(model, batch), 3 + len(batch.labels) // 2
    halves = [objective(model, small.examples(batch, *cut)) for cut in ((0, place), (place, 10**6))]
    torch.testing.assert_close(halves[0].total + halves[1].total, whole.total, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sum(map(penalty_of, halves)), penalty_of(whole), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_accumulated_halves_take_the_step_of_the_whole_batch(kind):
    """The penalty is divided by the examples of the step, as the loss is."""
    objective, learned = kind(disagreement=WEIGHT), []
    for size, accumulate in ((16, 1), (8, 2)):
        model = miner()
        stream = small.stream(size, positives_only=objective.positives_only, epoch_batch=accumulate)
        _same_examples(stream, 16, objective.positives_only)
        # Adam would blow up what the order of summation leaves of a gradient of nothing.
        optimizer = torch.optim.SGD([{"params": model.parameters(), "lr": 0.1, "base_lr": 0.1}])
        progress = next(
            fit(model, stream, objective, optimizer, FitOptions(accumulate=accumulate), Progress())
        )
        assert progress.step == 1 and progress.counts == {"examples": 16}
        learned.append((progress.loss, [value.detach() for value in model.parameters()]))
    (loss, whole), (same_loss, halves) = learned
    assert loss == pytest.approx(same_loss, rel=1e-6)
    for one, other in zip(whole, halves, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def _same_examples(stream, size: int, positives_only: bool) -> None:
    """Let a stream hand out parts of one batch, whose negatives then are the same ones too."""
    whole = small.stream(size, positives_only=positives_only).batch(0)
    step = stream.batch_size
    stream.batch = lambda number: small.examples(whole, number * step, (number + 1) * step, number)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_it_is_float32_in_half_precision(kind):
    model, batch = miner(), batch_of(kind())
    full = kind(disagreement=WEIGHT)(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = kind(disagreement=WEIGHT)(model, batch)
    assert half.total.dtype == penalty_of(half).dtype == torch.float32
    close = {"rtol": 0.05, "atol": 0.05 * len(batch.labels)}
    torch.testing.assert_close(penalty_of(half), penalty_of(full), **close)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_negative_weight_is_refused(kind):
    with pytest.raises(ValueError, match=r"^`disagreement` must be at least 0, got -0\.1$"):
        kind(disagreement=-0.1)


@pytest.mark.parametrize("kind", OBJECTIVES)
@pytest.mark.parametrize("name, encoder", [("nrms", "NRMS"), ("naml", "NAML")])
def test_users_of_one_vector_are_refused(kind, name, encoder):
    brick = f"{encoder}UserEncoder"
    message = rf"^`disagreement` must be 0 with {brick}, which gives vector and not interests, got 0\.8$"
    with pytest.raises(ValueError, match=message):
        kind(disagreement=WEIGHT)(small.recommender(name), batch_of(kind()))
