"""Training batches of prompts: those of a stream of clicks, read by a prompt."""

from __future__ import annotations

from collections.abc import Callable

from legorec.batch import ClickBatch, TokenBatch
from legorec.data.clicks import ClickStream


class PromptStream:
    """Order, negatives, epochs, shares of processes and exact resume are those of the clicks.

    Args:
        prompt: of a batch of clicks.
    """

    def __init__(self, clicks: ClickStream, prompt: Callable[[ClickBatch], TokenBatch]) -> None:
        self.clicks, self.prompt, self.seed = clicks, prompt, clicks.seed

    def epoch(self, number: int) -> range:
        """The batches of epoch ``number``, counted from 0."""
        return self.clicks.epoch(number)

    def batch(self, number: int) -> TokenBatch:
        """This process's share of batch ``number`` of the run."""
        return self.prompt(self.clicks.batch(number))
