"""A given table of vectors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from legorec.nn.dropout import Dropout
from legorec.nn.fused import gather_rows
from legorec.nn.scales import from_normed


class GivenTable(nn.Module):
    """Rows of a given table (V, E'), projected to ``dim`` on request.

    A frozen table keeps its dtype and its memory (a mapped file stays mapped); a tuned one is a float32 copy.
    The projection starts such that rows of any size come out as long as learned ones do, see ``scales``.
    Rows come out in at least float32; ``dropout`` sets a share of their values to zero in training.
    """

    def __init__(
        self, weight: np.ndarray | Tensor, frozen: bool, dim: int, projected: bool, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if isinstance(weight, np.ndarray):
            weight = torch.from_numpy(weight if weight.flags.writeable else weight.copy())
        weight = weight.detach() if frozen else weight.detach().float().clone()
        self.rows = nn.Embedding.from_pretrained(weight, freeze=frozen)
        self.rows.pretrained = True  # so that `item_lr` applies to it; not to the projection, which is new
        self.project = (
            from_normed(weight.shape[1], dim, size=typical_size(weight)) if projected else nn.Identity()
        )
        self.dropout = Dropout(dropout)

    @property
    def weight(self) -> Tensor:
        """(V, E') the table itself."""
        return self.rows.weight

    def forward(self, index: Tensor) -> Tensor:
        """(..., dim)"""
        rows = gather_rows(self.weight, index)
        rows = rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
        return self.dropout(self.project(rows))


def typical_size(weight: Tensor) -> float:
    """Root mean square of the values, from some thousand rows spread over the table; 1 where it is empty."""
    if weight.is_meta or not weight.numel():
        return 1.0
    some = weight[:: max(1, len(weight) // 4096)].float()
    return some.square().mean().sqrt().item() or 1.0
