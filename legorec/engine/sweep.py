"""A learning-rate sweep: the rate grows at each step, and the loss says which one to train with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

WIDTH = 0.05  # of the smoothing kernel (its standard deviation), as a share of the sweep's steps
NOISE = 4.0  # standard errors of the smoothed loss that it has to fall by
CUT = 3.0  # the suggestion is that much below the rate of the lowest loss; see docs/learning.md


@dataclass(frozen=True)
class Found:
    """What a sweep says.

    Args:
        rate: the suggested rate; None where the sweep found nothing.
        lowest: the step with the lowest smoothed loss.
        why: one sentence: how the rate was chosen, or why there is none.
    """

    rate: float | None
    lowest: int
    why: str


@dataclass
class Sweep:
    """Rates from ``lowest`` to ``highest``, each the same factor above the one before, and their losses.

    Smith, 2017 (arXiv 1506.01186), section 3.3, lets the rate grow linearly over some epochs and reads a
    range from the accuracy; here it grows exponentially and the training loss is read, so that some hundred
    steps go through several decades.
    """

    lowest: float
    highest: float
    steps: int
    losses: list[float] = field(default_factory=list)
    diverged: bool = False

    def rate(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        return float(self.lowest * (self.highest / self.lowest) ** (step / max(1, self.steps - 1)))

    @property
    def rates(self) -> list[float]:
        """The rates of the steps that were taken."""
        return [self.rate(step) for step in range(len(self.losses))]

    @property
    def done(self) -> bool:
        """Whether there is nothing left to try."""
        return self.diverged or len(self.losses) >= self.steps

    def add(self, loss: float) -> None:
        """Note the loss of the next step; the sweep is over once the loss is twice what it began with."""
        if not math.isfinite(loss):
            self.diverged = True
            return
        self.losses.append(loss)
        few = self._few
        if len(self.losses) > 2 * few:
            start, now = float(np.mean(self.losses[:few])), float(np.mean(self.losses[-few:]))
            self.diverged = now > start + abs(start)

    @property
    def _few(self) -> int:
        """Steps whose mean tells the loss at one place of the sweep."""
        return max(3, round(WIDTH * self.steps))

    @property
    def _width(self) -> float:
        """The standard deviation of the smoothing kernel, in steps."""
        return max(1.0, WIDTH * self.steps)

    def smoothed(self) -> list[float]:
        """The losses with their neighbours on both sides, by a Gaussian kernel; nothing lags behind."""
        values = np.array(self.losses)
        places = np.arange(len(values))
        weights = np.exp(-0.5 * ((places[:, None] - places) / self._width) ** 2)
        return list(map(float, weights @ values / weights.sum(1)))

    def found(self) -> Found:
        """The suggestion: a third of the rate at which the smoothed loss was lowest.

        None where the loss never fell below its start by more than ``NOISE`` standard errors, whether it only
        rose or the rates were too low to move it. Where it was still falling at the highest rate that was
        tried, the suggestion is too low, and says so.
        """
        if len(self.losses) < 2 * self._few:
            return Found(None, 0, f"the loss was not a number after {len(self.losses)} steps; lower --lowest")
        curve = self.smoothed()
        lowest = int(np.argmin(curve))
        start = float(np.mean(self.losses[: 2 * self._few]))
        error = self._error(curve)
        if start - curve[lowest] <= NOISE * error:
            risen = self.diverged or curve[-1] - start > NOISE * error
            way_out = "a lower --lowest" if risen else "a higher --highest"
            why = (
                f"the loss never fell below its start ({start:.4f}) by more than its noise ({NOISE:g} x "
                f"{error:.4f}); try {way_out}, more --steps or a larger --batch_size"
            )
            return Found(None, lowest, why)
        rate = self.rate(lowest) / CUT
        why = f"a third of {self.rate(lowest):.2g}, where the smoothed loss was lowest ({curve[lowest]:.4f})"
        if not self.diverged and lowest >= len(curve) - 1:
            why += "; it was still falling there: a higher --highest may suggest more"
        return Found(rate, lowest, why)

    def _error(self, curve: Sequence[float]) -> float:
        """The standard error of a fall: of the smoothed loss, and of the mean that it began with."""
        falling = self.losses[: max(2 * self._few, int(np.argmin(curve)) + 1)]
        noise = float((np.array(falling) - np.array(curve[: len(falling)])).std())
        # Of a Gaussian kernel the sum of squared weights is 1 / (2 sqrt(pi) width).
        return noise * math.sqrt(1 / (2 * math.sqrt(math.pi) * self._width) + 1 / (2 * self._few))
