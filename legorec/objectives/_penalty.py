"""Scores of a batch, and what a user's interests cost for being alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from legorec.batch import ClickBatch
from legorec.nn.disagreement import disagreement
from legorec.recommender import Recommender
from legorec.registry import KINDS, needs_interests


def check_weight(weight: float) -> float:
    """The weight, where it is one.

    Raises:
        ValueError: it is negative.
    """
    if weight < 0:
        raise ValueError(f"`disagreement` must be at least 0, got {weight}")
    return weight


def scored(model: nn.Module, batch: ClickBatch, weight: float) -> tuple[Tensor, Tensor]:
    """Scores (B, K), float32 at least, and ``weight`` times the likeness of each user's interests, added up.

    Raises:
        ValueError: there is a weight, and the model's users are not several interests each.
    """
    if not weight:
        scores = model(batch)
        wide = torch.promote_types(scores.dtype, torch.float32)
        return scores.to(wide), scores.new_zeros((), dtype=wide)
    assert isinstance(model, Recommender)
    encoded = model.encode(batch)
    given = str(getattr(model.user_encoder, "gives", KINDS["user_encoder"].unsaid))
    if wrong := needs_interests(type(model.user_encoder).__name__, given, weight):
        raise ValueError(f"`disagreement` {wrong}")
    scores = model.score_encoded(encoded, batch)
    return scores, weight * disagreement(encoded.clicked).sum()
