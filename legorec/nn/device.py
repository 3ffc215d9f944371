"""Where a module computes."""

from __future__ import annotations

import torch
from torch import nn


def module_device(module: nn.Module) -> torch.device:
    """Where a module's parameters are; the CPU when it has none."""
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
