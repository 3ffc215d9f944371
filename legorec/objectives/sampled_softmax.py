"""Sampled softmax over one click and its negatives."""

from __future__ import annotations

import torch
from torch import nn

from legorec.batch import ClickBatch, Loss


class SampledSoftmaxObjective:
    """Negative log-likelihood of the click among itself and K negatives (NRMS; Wu et al., 2019, eq. 11).

    Training examples are clicks alone; the click is the first candidate.

    Raises:
        ValueError: ``num_negatives`` is below 1.

    Relations: ``pointwise`` judges every candidate for itself and also learns from impressions without a
    click.
    """

    positives_only = True

    def __init__(self, num_negatives: int = 4) -> None:
        if num_negatives < 1:
            raise ValueError(f"`num_negatives` must be at least 1 for sampled_softmax, got {num_negatives}")
        self.num_negatives = num_negatives

    def count(self, batch: ClickBatch) -> int:
        """Examples in the batch, what the sum is divided by."""
        return len(batch.labels)

    def __call__(self, model: nn.Module, batch: ClickBatch) -> Loss:
        scores = model(batch).masked_fill(~batch.candidate_mask, -torch.inf)
        wide = torch.promote_types(scores.dtype, torch.float32)
        total = -nn.functional.log_softmax(scores.to(wide), dim=1)[:, 0].sum()
        return Loss(total=total, count=self.count(batch))
