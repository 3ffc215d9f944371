"""Vectors of a large batch in the memory of a small one (GradCache; Gao et al., 2021; arXiv 2101.06983)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from legorec.nn.drawing import stretches


def in_chunks(
    encode: Callable[[slice], Tensor], num_rows: int, size: int, device: torch.device | str = "cpu"
) -> Tensor:
    """``encode(slice(0, num_rows))``, of which memory holds what ``size`` rows need for their gradient.

    Each chunk is encoded without keeping what its backward pass needs. When the gradient of all vectors is
    known, one chunk after the other is encoded once more and its gradient is added: the paper's three steps,
    in the order in which the backward pass comes to them. Dropout drops the same values both times, and,
    within ``legorec.nn.drawing``, those that it drops in the whole batch, so that losses and gradients are
    those of the plain form, whatever the size.

    Args:
        encode: rows -> their vectors (b, D). It must depend on nothing that changes until the backward pass,
            and, of what needs a gradient, on leaves alone, such as parameters: these are given theirs by
            ``backward()``, not by ``torch.autograd.grad``.
        num_rows: of this process, in all.
        size: rows at a time. A last chunk may be shorter.
        device: where it computes.
    Returns: (num_rows, D).
    Raises:
        ValueError: ``size`` or ``num_rows`` is below 1.
    """
    if size < 1 or num_rows < 1:
        raise ValueError(f"`size` and `num_rows` must be at least 1, got {size} and {num_rows}")
    if num_rows <= size:
        return encode(slice(0, num_rows))
    at = stretches()

    def encoded(first: int, last: int, anchor: Tensor) -> Tensor:
        with at(first):
            return encode(slice(first, last))

    # The kind of checkpoint that keeps no graph of a chunk: the nodes of many would take, and scatter, more
    # memory than the activations of one. It needs a tensor that requires a gradient, on the device.
    anchor = torch.empty(0, device=device, requires_grad=True)
    parts = []
    for first in range(0, num_rows, size):
        place = (first, min(first + size, num_rows), anchor)
        again = torch.is_grad_enabled()
        parts.append(checkpoint(encoded, *place, use_reentrant=True) if again else encoded(*place))
    return torch.cat(parts)
