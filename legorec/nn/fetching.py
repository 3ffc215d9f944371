"""Results on their way from a device to the host, which goes on meanwhile."""

from __future__ import annotations

import torch
from torch import Tensor

from legorec.nn.sending import host_buffer, on, pins


class Fetched:
    """Values whose copy to the host has been queued; on the CPU they are there."""

    def __init__(self, values: Tensor) -> None:
        self._host, self._done = values, None
        device = values.device
        if device.type == "cpu":
            return
        self._host = host_buffer(*values.shape, dtype=values.dtype, device=device)
        self._host.copy_(values, non_blocking=pins(device.type))
        if pins(device.type):
            with on(device):
                self._done = torch.get_device_module(device).Event()
                self._done.record()

    def wait(self) -> Tensor:
        """The values on the host, once they are there; not for what was queued after their copy."""
        if self._done is not None:
            self._done.synchronize()
        return self._host
