"""Dropout that costs little more than its random bits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zero a share ``rate`` of the values in training and scale up the rest.

    Like ``nn.Dropout``, but on the CPU it draws 16 random bits per value, which is three to five times as
    fast (``python -m benchmarks.kernels``). There the rate is rounded to a multiple of 2^-16, and the scale
    is that of the rounded rate.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"`dropout` must be at least 0 and below 1, got {rate}")
        self.rate = rate

    def extra_repr(self) -> str:
        return str(self.rate)

    @property
    def p(self) -> float:
        """The rate, under the name it has in ``nn.Dropout``, where transformers reads it."""
        return self.rate

    def forward(self, values: Tensor) -> Tensor:
        return dropped(values, self.rate) if self.training else values


def dropped(values: Tensor, rate: float) -> Tensor:
    """The values with a share ``rate`` set to zero and the rest scaled up, in any mode."""
    if rate == 0.0:
        return values
    if values.device.type != "cpu":
        return F.dropout(values, rate)
    kept = max(1, round((1.0 - rate) * 65536))
    # All 64 bits: the default range leaves out the sign bit, and one value in four would never be dropped.
    words = torch.empty((values.numel() + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    ranks = words.view(torch.int16)[: values.numel()].view(values.shape).float()
    # Ranks are integers from -32768: the difference is at least 1 where a value is kept, else at most 0.
    scale = ranks.neg_().add_(kept - 32768).clamp_(0.0, 1.0).mul_(65536 / kept)
    return values * scale.to(values.dtype)
