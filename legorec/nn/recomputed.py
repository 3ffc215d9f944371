"""Parts of a model that are computed once more in the backward pass, so that memory need not hold them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def nothing() -> None:
    """Do nothing."""


def recomputed(
    function: Callable[[Tensor], Tensor],
    rows: Tensor,
    device: torch.device,
    before: Callable[[], None] = nothing,
) -> Tensor:
    """``function(rows)``, computed again in the backward pass with the same random numbers and precision.

    Torch keeps the state of a device's generator, and its autocast, only for the devices of the tensors that
    it is given. These rows are on the host, so that the backward pass would draw other dropout masks.

    Args:
        device: where the function computes.
        before: called when it is about to be computed again.
    """
    out: Tensor = checkpoint(
        function, rows, use_reentrant=False, context_fn=lambda: (nullcontext(), _Again(device, before))
    )
    return out


class _Again:
    """Draw random numbers and compute as when this was made; as often as it is entered."""

    def __init__(self, device: torch.device, before: Callable[[], None]) -> None:
        self.device, self.before = device, before
        kind = device.type
        if kind == "cpu":  # torch sees to it
            return
        self.place = () if kind == "mps" else (device,)
        self.generator = torch.get_device_module(device)
        self.state = self.generator.get_rng_state(*self.place)
        self.dtype, self.enabled = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)

    def __enter__(self) -> None:
        self.before()
        self._stack = ExitStack()
        if self.device.type == "cpu":
            return
        later = self.generator.get_rng_state(*self.place)
        self._stack.callback(self.generator.set_rng_state, later, *self.place)
        self.generator.set_rng_state(self.state, *self.place)
        self._stack.enter_context(torch.autocast(self.device.type, self.dtype, self.enabled))

    def __exit__(self, *error: Any) -> None:
        self._stack.close()
