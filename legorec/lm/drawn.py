"""Drawn weights for a model of any size, in the memory of its largest layer.

Whether a cut is exact depends on what the model computes, and not on its weights. So it can be tried before
the weights are read, and with none of them zero or one, as they are in a model that was not trained.
"""

from __future__ import annotations

import math
from zlib import crc32

import torch
from torch import Tensor, nn

SLACK = 4096  # numbers by which a matrix may begin later in the common buffer than another
PERIOD = 1_048_573  # of the numbers; a prime, so that the rows of a matrix differ
STEP = 16  # numbers from one row of an embedding, or from one expert's matrix, to the next


def draw_weights(model: nn.Module, width: int) -> None:
    """Give every parameter on ``meta`` its values: views of one buffer, which repeat and may overlap.

    A parameter has the same values wherever its name is the same. Matrices keep states of ``width`` at about
    their size; norms are near one. They are for reading only.
    """
    tables = {f"{path}.weight" for path, each in model.named_modules() if isinstance(each, nn.Embedding)}
    places = {name: _place(name, value, name in tables) for name, value in model.named_parameters()}
    size = max((offset + reach for offset, reach, _ in places.values()), default=1)
    generator = torch.Generator().manual_seed(0)
    # The same numbers whatever the size: half a model has smaller parts than the whole.
    some = torch.empty(PERIOD).normal_(0.0, 1.0 / math.sqrt(width), generator=generator)
    buffer = some.repeat(-(-size // PERIOD))
    state: dict[str, Tensor] = dict(model.state_dict())
    for name, value in model.named_parameters(remove_duplicate=False):
        if value.dim() < 2:
            generator.manual_seed(crc32(name.encode()))
            middle = 1.0 if name.endswith("weight") else 0.0
            state[name] = torch.empty(value.shape).normal_(middle, 0.1, generator=generator)
        else:
            offset, _, strides = places[name] if name in places else _place(name, value, name in tables)
            state[name] = buffer.as_strided(value.shape, strides, offset)
    model.load_state_dict(state, assign=True)
    model.requires_grad_(False)


def _place(name: str, value: Tensor, table: bool) -> tuple[int, int, tuple[int, ...]]:
    """Where a parameter begins in the buffer, how far it reaches, and its strides."""
    offset = crc32(name.encode()) % (SLACK // STEP) * STEP
    strides = list(value.stride())
    if table or value.dim() > 2:
        strides[0] = STEP
    reach = 1 + sum((length - 1) * stride for length, stride in zip(value.shape, strides, strict=True))
    return offset, reach, tuple(strides)
