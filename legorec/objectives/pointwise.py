"""Binary cross entropy of every candidate for itself."""

from __future__ import annotations

from torch import nn

from legorec.batch import ClickBatch, Loss
from legorec.objectives._penalty import check_weight, click_loss, scored


class PointwiseObjective:
    """Binary cross entropy with logits, one term for every candidate.

    Training examples are all candidates with their labels. An example and its sampled negatives count as one,
    so the terms of the negatives are added, not averaged.

    Args:
        num_negatives: sampled items with label 0 beside each click, needed where the data holds clicks alone.
        disagreement: as in ``sampled_softmax``.
    Raises:
        ValueError: ``num_negatives`` or ``disagreement`` is negative.

    Relations: ``sampled_softmax`` compares a click with its negatives, so that only differences of scores
    matter.
    """

    positives_only = False
    needs_interests = ("disagreement",)

    def __init__(self, num_negatives: int = 0, disagreement: float = 0.0) -> None:
        if num_negatives < 0:
            raise ValueError(f"`num_negatives` must not be negative, got {num_negatives}")
        self.num_negatives = num_negatives
        self.disagreement = check_weight(disagreement)

    def counts(self, batch: ClickBatch) -> dict[str, int]:
        """Examples in the batch, what its sums are divided by."""
        return {"examples": len(batch.labels)}

    def __call__(self, model: nn.Module, batch: ClickBatch) -> Loss:
        scores, penalty = scored(model, batch, self.disagreement)
        losses = nn.functional.binary_cross_entropy_with_logits(
            scores, batch.labels.to(scores.dtype), reduction="none"
        )
        total = losses.masked_fill(~batch.candidate_mask, 0.0).sum()
        return click_loss("pointwise", total, penalty, self.disagreement)
