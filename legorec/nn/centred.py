"""Values less their mean, over their deviation, both measured once."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Centred(nn.Module):
    """Standardises each coordinate of what a frozen or pretrained part gives, by numbers that training does
    not change; as it stands, and before ``measure``, it gives what it gets.

    Final states of language models have a part that all tokens share (nearly all of their length in causal
    ones) and are long in a few coordinates. Behind a dense layer, all items would be nearly one vector; and a
    step of Adam, which is of one size for all weights, would move it most along what they share.
    Unlike a norm over a batch, nothing here depends on what else is in it.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))

    def measure(self, mean_E: Tensor, deviation_E: Tensor) -> None:
        """Take these; a coordinate that hardly varies is not blown up."""
        floor = 0.01 * float(deviation_E.square().mean()) ** 0.5
        self.mean.copy_(mean_E)
        self.deviation.copy_(deviation_E.clamp_min(floor) if floor else torch.ones(()))

    def forward(self, values_TE: Tensor) -> Tensor:
        """(T, E) of the width and dtype of the mean."""
        return (values_TE - self.mean) / self.deviation
