"""Whether a graph is being taken from a model, in which sizes must stay open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

_taken: ContextVar[bool] = ContextVar("taken", default=False)


@contextmanager
def taking_a_graph() -> Iterator[None]:
    """Within it bricks compute on padded rows alone, as on an accelerator, so that no size is a constant."""
    token = _taken.set(True)
    try:
        yield
    finally:
        _taken.reset(token)


def is_taken() -> bool:
    """Whether operations should be plain ones, that a graph can hold."""
    return _taken.get()


def packs(values: Tensor) -> bool:
    """Whether rows are packed: on the CPU, where counting them waits for nothing."""
    return values.device.type == "cpu" and not _taken.get()
