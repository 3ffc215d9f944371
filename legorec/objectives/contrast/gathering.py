"""Rows of all processes in each of them, with the gradients that come back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from legorec.processes import Processes


class Gathering:
    """Where the rows of each process stand among those of all, by rank.

    Making one is a meeting of all processes, and so is each call. A process may have no row.

    Args:
        num_rows: of this process.
    """

    def __init__(self, num_rows: int, processes: Processes) -> None:
        counts = torch.zeros(processes.world, dtype=torch.int64)
        counts[processes.rank] = num_rows
        processes.add(counts)
        self.processes, self.num_rows = processes, num_rows
        self.start, self.total = int(counts[: processes.rank].sum()), int(counts.sum())

    def __call__(self, rows_BD: Tensor) -> Tensor:
        """(N, D) the rows of all processes; the gradient of each comes from all of them.

        Where one process has vectors that need a gradient all must have, also one that has no row: the
        backward pass is a meeting too.
        """
        if len(rows_BD) != self.num_rows:
            raise ValueError(f"gathered are {self.num_rows} rows, got {len(rows_BD)}")
        return rows_BD if self.processes.world == 1 else _Gather.apply(rows_BD, self)


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, rows_BD: Tensor, place: Gathering) -> Tensor:
        ctx.place = place
        whole_ND = rows_BD.new_zeros(place.total, *rows_BD.shape[1:])
        whole_ND[place.start : place.start + place.num_rows] = rows_BD
        place.processes.merge(whole_ND)
        return whole_ND

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_ND: Tensor) -> tuple[Tensor, None]:
        place: Gathering = ctx.place
        grad_ND = grad_ND.clone(memory_format=torch.contiguous_format)
        place.processes.add(grad_ND)
        return grad_ND[place.start : place.start + place.num_rows], None
