"""What is learned from prompts."""

from __future__ import annotations

from typing import Literal, Protocol, cast

from torch import Tensor, nn

from legorec.batch import Loss, Term, TokenBatch


class SaysTokens(Protocol):
    """A model that knows how likely the tokens of its batch are."""

    def negative_log_likelihood(self, batch: TokenBatch) -> Tensor: ...


class TokenObjective:
    """Cross entropy of the tokens at ``batch.learned``, a mean over those of the whole step.

    Args:
        per: ``tokens``; or ``examples``, for the mean over rows of the sum over the tokens of each.

    Relations: batches are weighed by what they hold, so accumulated ones equal a larger one; a mean of their
    means would not.
    """

    def __init__(self, per: Literal["tokens", "examples"] = "tokens") -> None:
        self.per = per

    def counts(self, batch: TokenBatch) -> dict[str, int]:
        """Tokens that the batch teaches, or its rows."""
        return {self.per: len(batch.learned if self.per == "tokens" else batch.lengths)}

    def __call__(self, model: nn.Module, batch: TokenBatch) -> Loss:
        losses = cast(SaysTokens, model).negative_log_likelihood(batch)
        return Loss({"language": Term(losses.sum(), per=self.per)})
