"""What is learned from prompts."""

from __future__ import annotations

from typing import Protocol, cast

from torch import Tensor, nn

from legorec.batch import Loss, Term, TokenBatch


class SaysTokens(Protocol):
    """A model that knows how likely the tokens of its batch are."""

    def negative_log_likelihood(self, batch: TokenBatch) -> Tensor: ...


class TokenObjective:
    """Cross entropy of the tokens at ``batch.learned``, a mean over those of the whole step.

    Relations: batches are weighed by what they hold, so accumulated ones equal a larger one; a mean of their
    means would not.
    """

    def counts(self, batch: TokenBatch) -> dict[str, int]:
        """Tokens that the batch teaches."""
        return {"tokens": len(batch.learned)}

    def __call__(self, model: nn.Module, batch: TokenBatch) -> Loss:
        losses = cast(SaysTokens, model).negative_log_likelihood(batch)
        return Loss({"language": Term(losses.sum(), per="tokens")})
