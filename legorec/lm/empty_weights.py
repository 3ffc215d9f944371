"""Models built without their weights, by one thread while the others build theirs with them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_ALONE = {os.getpid(): threading.Lock()}  # by process: after a fork nobody would release the parent's


@contextmanager
def empty_weights() -> Iterator[None]:
    """Parameters that this thread registers are on ``meta``; buffers have their values.

    Like accelerate's ``init_empty_weights(include_buffers=False)``, which empties the parameters of every
    thread: a model that another one loads at the same time would lose its weights.
    """
    with _ALONE.setdefault(os.getpid(), threading.Lock()):
        plain, builder = nn.Module.register_parameter, threading.get_ident()

        def register(module: nn.Module, name: str, given: nn.Parameter | None) -> None:
            plain(module, name, given)
            if given is not None and threading.get_ident() == builder:
                empty = nn.Parameter(given.to("meta"), given.requires_grad)
                # transformers draws no values for it then, which on ``meta`` takes half of all time.
                empty._is_hf_initialized = True  # type: ignore[attr-defined]
                module._parameters[name] = empty

        nn.Module.register_parameter = register  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            nn.Module.register_parameter = plain  # type: ignore[method-assign]
