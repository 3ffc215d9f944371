"""Which examples each numbered batch of a run holds. Batch i is a pure function of (seed, i)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from legorec.data.draws import Purpose, generator
from legorec.processes import ALONE, Processes


class Passes:
    """Passes over some examples, each in an order of its own, cut into numbered batches.

    One pass is ``num_batches`` batches, the last perhaps short. The batches of a stream are made from it:
    order, epochs, shares of processes and exact resume are the same for examples of any kind.

    Args:
        num_examples: in one pass.
        batch_size: examples of a batch, over all processes.
        epoch_batch: 0: an epoch is a pass. n > 0: an epoch is n batches. -n: an epoch is one n-th of a pass,
            one batch at least, so that n epochs see every example once.
        examples: what stands for them, in a fixed order, to be shuffled in place; their places are the
            default.

    Raises:
        ValueError: ``batch_size`` or ``num_examples`` is below 1.
    """

    def __init__(
        self,
        num_examples: int,
        *,
        batch_size: int,
        epoch_batch: int = 0,
        seed: int = 2023,
        processes: Processes = ALONE,
        examples: Callable[[], np.ndarray] | None = None,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("num_examples", num_examples)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}")
        self.num_examples, self.batch_size, self.epoch_batch = num_examples, batch_size, epoch_batch
        self.seed, self.processes = seed, processes
        self.num_batches = -(-num_examples // batch_size)
        self._examples = examples or (lambda: np.arange(num_examples))
        self._order: tuple[int, np.ndarray] | None = None

    def epoch(self, number: int) -> range:
        """The batches of epoch ``number``, counted from 0."""
        if self.epoch_batch > 0:
            return range(number * self.epoch_batch, (number + 1) * self.epoch_batch)
        parts = min(max(1, -self.epoch_batch), self.num_batches)
        return range(number * self.num_batches // parts, (number + 1) * self.num_batches // parts)

    def whole(self, number: int) -> np.ndarray:
        """(B,) the examples of batch ``number``, those of all processes."""
        turn, place = divmod(number, self.num_batches)
        return self._order_of(turn)[place * self.batch_size : (place + 1) * self.batch_size]

    def share(self, number: int) -> np.ndarray:
        """The examples of batch ``number`` that are this process's, perhaps none."""
        whole = self.whole(number)
        return whole[self.processes.share(len(whole))]

    def _order_of(self, turn: int) -> np.ndarray:
        """The examples in the order of one pass."""
        if self._order is None or self._order[0] != turn:
            self._order = None  # so that two of them are never in memory
            order = self._examples()
            generator(self.seed, Purpose.SHUFFLE, turn).shuffle(order)
            self._order = (turn, order)
        return self._order[1]
