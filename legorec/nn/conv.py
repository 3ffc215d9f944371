"""Convolution along packed rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from legorec.nn.fused import ShiftedProducts, without_autocast
from legorec.nn.scales import keep_length
from legorec.nn.segments import Segments


class PackedConv1d(nn.Module):
    """Convolution over each row of packed vectors separately, with zeros beyond its ends.

    Equal to ``nn.Conv1d`` with ``padding="same"`` on every row, but for its start, see ``nn.scales``.
    ``weight`` is (kernel_size, input_dim, output_dim), so that each tap is one matrix product. Twice as fast
    as ``nn.Conv1d`` over padded titles (``python -m benchmarks.kernels``, two cores).

    Args:
        rectified: ReLU follows, which only the initial weights depend on.
    """

    def __init__(
        self, input_dim: int, output_dim: int, kernel_size: int = 3, rectified: bool = False
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be odd and positive, got {kernel_size}")
        self.weight = nn.Parameter(torch.empty(kernel_size, input_dim, output_dim))
        keep_length(self.weight, kernel_size * output_dim, rectified)
        self.bias = nn.Parameter(torch.zeros(output_dim))

    def forward(self, values_TE: Tensor, rows: Segments) -> Tensor:
        """(T, output_dim)"""
        heads, tails = rows.edges(len(self.weight) // 2, values_TE.device)
        return without_autocast(ShiftedProducts, values_TE, self.weight, self.bias, heads, tails)
