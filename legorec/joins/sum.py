"""Join of an item's parts by addition."""

from __future__ import annotations

from torch import Tensor, nn


class SumJoin(nn.Module):
    """The sum of an item's parts, without a weight of its own.

    Each part learns what the others leave open. Where a user is a mean of clicks and a score an inner
    product, scores add up over all pairs of parts.
    """

    def forward(self, parts_NPD: Tensor, mask_NP: Tensor) -> Tensor:
        """(N, D); a part that is not there is zero, and so is an item without any."""
        return parts_NPD.sum(1)
