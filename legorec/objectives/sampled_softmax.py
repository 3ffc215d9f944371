"""Sampled softmax over one click and its negatives."""

from __future__ import annotations

import torch
from torch import nn

from legorec.batch import ClickBatch, Loss
from legorec.objectives._penalty import check_weight, click_loss, scored


class SampledSoftmaxObjective:
    """Negative log-likelihood of the click among itself and K negatives (NRMS; Wu et al., 2019, eq. 11).

    Training examples are clicks alone; the click is the first candidate.

    Args:
        num_negatives: K, the items sampled beside the click (paper: 4).
        disagreement: weight of MINER's penalty on a user's interests for being alike (Li et al., 2022; the
            paper: 0.8). For user encoders that give interests.
    Raises:
        ValueError: ``num_negatives`` is below 1, or ``disagreement`` below 0.

    Relations: ``pointwise`` judges every candidate for itself and also learns from impressions without a
    click.
    """

    positives_only = True
    needs_interests = ("disagreement",)

    def __init__(self, num_negatives: int = 4, disagreement: float = 0.0) -> None:
        if num_negatives < 1:
            raise ValueError(f"`num_negatives` must be at least 1 for sampled_softmax, got {num_negatives}")
        self.num_negatives = num_negatives
        self.disagreement = check_weight(disagreement)

    def counts(self, batch: ClickBatch) -> dict[str, int]:
        """Examples in the batch, what its sums are divided by."""
        return {"examples": len(batch.labels)}

    def __call__(self, model: nn.Module, batch: ClickBatch) -> Loss:
        scores, penalty = scored(model, batch, self.disagreement)
        scores = scores.masked_fill(~batch.candidate_mask, -torch.inf)
        total = -nn.functional.log_softmax(scores, dim=1)[:, 0].sum()
        return click_loss("sampled_softmax", total, penalty, self.disagreement)
