"""Host arrays on their way to a device: one copy for all of them, from pinned memory, which nobody waits for.

From other memory ``non_blocking`` promises nothing: CUDA then waits for all that was queued before the copy.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

ALIGNED = 16  # bytes, where each part begins


def sent(device: torch.device | str, *parts: np.ndarray | Tensor) -> tuple[Tensor, ...]:
    """The parts on a device, packed into one buffer for a single copy; on the CPU they are used as they are.

    A part that is not on the host is left where it is. Those that were sent are views of one tensor.
    """
    device = torch.device(device)
    tensors = [torch.from_numpy(part) if isinstance(part, np.ndarray) else part for part in parts]
    if device.type == "cpu":
        return tuple(part.to(device) for part in tensors)
    starts, total = [], 0
    for part in tensors:
        starts.append(total)
        total += -(-part.nbytes // ALIGNED) * ALIGNED if part.device.type == "cpu" else 0
    buffer = host_buffer(total, dtype=torch.uint8, device=device)
    for start, part in zip(starts, tensors, strict=True):
        if part.device.type == "cpu":
            _within(buffer, start, part).copy_(part)
    there = buffer.to(device, non_blocking=pins(device.type))
    return tuple(
        _within(there, start, part) if part.device.type == "cpu" else part
        for start, part in zip(starts, tensors, strict=True)
    )


def _within(buffer: Tensor, start: int, part: Tensor) -> Tensor:
    """The place of a part in a buffer of bytes, with the part's dtype and shape."""
    return buffer[start : start + part.nbytes].view(part.dtype).view(part.shape)


def host_buffer(*shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Memory of the host for copies to or from a device, pinned where that device has pinned memory.

    Torch keeps freed pinned memory for the next buffer, but not before the copies from it are done.
    """
    if not pins(device.type):
        return torch.empty(shape, dtype=dtype)
    with on(device):
        return torch.empty(shape, dtype=dtype, pin_memory=True)


@cache
def pins(device_type: str) -> bool:
    """Whether copies to this kind of device are faster from pinned memory; it is tried, once."""
    if device_type in ("cpu", "mps", "meta"):  # MPS shares the host's memory
        return False
    try:
        torch.empty(1, pin_memory=True)
    except (RuntimeError, NotImplementedError):
        return False
    return True


def on(device: torch.device) -> AbstractContextManager[Any]:
    """Make a device the current one of this thread, so that no other one is set up for what belongs to it."""
    if device.index is None or device.type in ("cpu", "mps", "meta"):
        return nullcontext()
    chosen: AbstractContextManager[Any] = torch.get_device_module(device).device(device.index)
    return chosen
