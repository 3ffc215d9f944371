"""The activation of DIN, which adapts to the distribution of its input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from legorec.nn.attention import HALF


class Dice(nn.Module):
    """``p s + (1 - p) alpha s`` with ``p = sigmoid((s - E[s]) / sqrt(Var[s] + eps))`` (Zhou et al., 2018).

    A PReLU whose bend follows the data (DIN). In training the mean and the variance of each
    column are those of the batch, over real places only; evaluation uses running ones, which are part of the
    state. So in training a row depends on its batch: accumulating two half batches, or sharing a batch
    between processes, does not give exactly the result of the whole batch, as it does elsewhere here.

    Args:
        dim: width of the values; every column has its own ``alpha``, which starts at 0.
        momentum: weight of a batch in the running statistics.
        eps: as in the paper.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, dim: int, momentum: float = 0.1, eps: float = 1e-8) -> None:
        super().__init__()
        self.momentum = momentum
        self.eps = eps
        self.alpha = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, values_TD: Tensor, mask_T: Tensor) -> Tensor:
        """(T, D). The result has no meaning where the mask is False."""
        wide_TD = values_TD.float() if values_TD.dtype in HALF else values_TD
        mean_D, var_D = self.running_mean, self.running_var
        if self.training:
            mean_D, var_D = self._measure(wide_TD, ~mask_T.unsqueeze(1))
        share_TD = torch.sigmoid((wide_TD - mean_D) * torch.rsqrt(var_D + self.eps))
        return (wide_TD * (self.alpha + share_TD * (1.0 - self.alpha))).to(values_TD.dtype)

    def _measure(self, values_TD: Tensor, hidden_T1: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance over the places that are not masked; also updates the running ones."""
        count = (~hidden_T1).sum()
        divisor = count.clamp(min=1)
        mean_D = values_TD.masked_fill(hidden_T1, 0.0).sum(0) / divisor
        var_D = (values_TD - mean_D).masked_fill(hidden_T1, 0.0).square().sum(0) / divisor
        with torch.no_grad():
            step = self.momentum * (count > 0).to(self.running_mean.dtype)  # without a place, no update
            self.running_mean.lerp_(mean_D.detach().to(self.running_mean.dtype), step)
            self.running_var.lerp_(var_D.detach().to(self.running_var.dtype), step)
        return mean_D, var_D
