"""Dropout of an item or an example, wherever and with whatever others it is computed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from legorec.nn.drawing import scales
from legorec.nn.segments import Segments


class Dropout(nn.Module):
    """Zero a share ``rate`` of the values in training and scale up the rest.

    In training by the program, what is dropped is a function of the item or example that a value belongs to,
    see ``legorec.nn.drawing``. Elsewhere this is ``nn.Dropout``, but on the CPU it draws 16 random bits per
    value, which is three to five times as fast (``python -m benchmarks.kernels``). The rate is rounded to a
    multiple of 2^-16, and the scale is that of the rounded rate.
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

    def forward(self, values: Tensor, rows: Segments | Tensor | None = None) -> Tensor:
        """The values, (U, ..., D) with a block for each item or example.

        Args:
            rows: where values are packed instead, (T, ..., D), the rows they are packed from. Anything else
                is ignored, so that ``Rows`` can be handed on as they are.
        """
        return dropped(values, self.rate, rows) if self.training else values


def dropped(values: Tensor, rate: float, rows: Segments | Tensor | None = None) -> Tensor:
    """The values with a share ``rate`` set to zero and the rest scaled up, in any mode; see ``Dropout``."""
    if rate == 0.0:
        return values
    drawn = scales(values, rate, rows if isinstance(rows, Segments) else None)
    if drawn is not None:
        return values * drawn
    if values.device.type != "cpu":
        return F.dropout(values, rate)
    kept = max(1, round((1.0 - rate) * 65536))
    # All 64 bits: the default range leaves out the sign bit, and one value in four would never be dropped.
    words = torch.empty((values.numel() + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    ranks = words.view(torch.int16)[: values.numel()].view(values.shape).float()
    # Ranks are integers from -32768: the difference is at least 1 where a value is kept, else at most 0.
    scale = ranks.neg_().add_(kept - 32768).clamp_(0.0, 1.0).mul_(65536 / kept)
    return values * scale.to(values.dtype)


def kept(num_rows: int, rate: float, device: torch.device) -> Tensor:
    """(num_rows, 1) False for a share ``rate`` of some items or examples, drawn as dropout is."""
    return dropped(torch.ones(num_rows, 1, device=device), rate) > 0
