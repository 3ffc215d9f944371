"""Item encoder that averages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.nn.scales import dense
from legorec.nn.sending import sent


class PoolingItemEncoder(nn.Module):
    """Mean or maximum of an item's tokens within each field, then over its fields; ``Pooling`` of
    Legommenders.

    Args:
        input_dim: width of the token states.
        field_kinds: one for each field of the states.
        mode: ``mean`` over the tokens of a field, then over the fields that are not empty; ``max``, which is
            the same as the maximum over all tokens; ``flatten``: the means of the fields end to end, zero for
            an empty one.
        hidden_dim: a projection to this width, without a bias, so that an item without a token stays zero.
            None: no projection; the width is ``input_dim``, with ``flatten`` that for each field.
    Unlike in Legommenders, an empty field does not pull the mean towards zero, and padding does not raise a
    maximum below zero.
    """

    def __init__(
        self,
        input_dim: int,
        field_kinds: Sequence[str],
        mode: Literal["mean", "max", "flatten"] = "mean",
        hidden_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.mode = mode
        pooled = input_dim * len(field_kinds) if mode == "flatten" else input_dim
        self.output_dim = pooled if hidden_dim is None else hidden_dim
        self.project = nn.Identity() if hidden_dim is None else dense(pooled, hidden_dim, bias=False)

    def forward(self, states: TokenStates) -> Tensor:
        """(N, D); an item without a token is zero."""
        return self.project(largest(states) if self.mode == "max" else self._means(states))

    def _means(self, states: TokenStates) -> Tensor:
        N, F = states.lengths.shape
        means_NFE = states.by_field.mean(states.values).view(N, F, states.values.shape[1])
        if self.mode == "flatten":
            return means_NFE.flatten(1)
        filled_N1 = (states.lengths > 0).sum(1, keepdim=True).clamp(min=1)
        return means_NFE.sum(1) / sent(means_NFE.device, filled_N1)[0]


def largest(states: TokenStates) -> Tensor:
    """(N, E) the maximum of each item's tokens, zero for an item without a token."""
    rows = states.by_item
    if rows.total == 0:  # `amax` needs at least one place
        return states.values.new_zeros(rows.num_rows, states.values.shape[1])
    padded_NLE, mask_NL = rows.pad(states.values)
    lowest = torch.finfo(padded_NLE.dtype).min
    maxima_NE = padded_NLE.masked_fill(~mask_NL.unsqueeze(2), lowest).amax(1)
    return torch.where(mask_NL[:, :1], maxima_NE, 0.0)
