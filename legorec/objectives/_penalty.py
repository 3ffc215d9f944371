"""Scores of a batch, and MINER's penalty on interests that are alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from legorec.batch import ClickBatch, Loss, Term
from legorec.nn.disagreement import disagreement
from legorec.recommender import Recommender
from legorec.registry import KINDS, needs_interests


def check_weight(weight: float) -> float:
    """Check the weight of the penalty; returns it.

    Raises:
        ValueError: it is negative.
    """
    if weight < 0:
        raise ValueError(f"`disagreement` must be at least 0, got {weight}")
    return weight


def scored(model: nn.Module, batch: ClickBatch, weight: float) -> tuple[Tensor, Tensor | None]:
    """Scores (B, K), float32 at least, and the penalty summed over the users.

    Returns: no likeness where ``weight`` is 0.
    Raises:
        ValueError: there is a weight, and the model's users are not several interests each.
    """
    if not weight:
        scores = model(batch)
        return scores.to(torch.promote_types(scores.dtype, torch.float32)), None
    assert isinstance(model, Recommender)
    encoded = model.encode(batch)
    given = str(getattr(model.user_encoder, "gives", KINDS["user_encoder"].unsaid))
    if wrong := needs_interests(type(model.user_encoder).__name__, given, weight):
        raise ValueError(f"`disagreement` {wrong}")
    return model.score_encoded(encoded, batch), disagreement(encoded.clicked).sum()


def click_loss(name: str, total: Tensor, penalty: Tensor | None, weight: float) -> Loss:
    """The loss of clicks under its name, with MINER's penalty beside it where there is one."""
    terms = {name: Term(total)}
    if penalty is not None:
        terms["disagreement"] = Term(penalty, weight=weight)
    return Loss(terms)
