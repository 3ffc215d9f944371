"""A memory that is short, for tests: methods that fail as allocators do when they are asked for too much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from legorec.lm.cut import LowerLayers, UpperLayers
from legorec.recommender import Recommender

CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB of which ..."
CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"
ERRORS: dict[str, Callable[[], Exception]] = {
    "cuda": lambda: torch.OutOfMemoryError(CUDA),
    "cpu": lambda: RuntimeError(CPU),
    "python": MemoryError,
}
# What each place is asked for at once, of the arguments of its method.
PLACES: dict[str, list[tuple[type, str, Callable[..., int]]]] = {
    "items": [(Recommender, "encode_items", len)],
    "users": [(Recommender, "encode_users", lambda clicks: len(clicks.mask))],
    "pairs": [
        (Recommender, "score", lambda user, candidates, *_: candidates.shape[0] * candidates.shape[1]),
        (Recommender, "score_all", lambda user, items, out=None: len(user) * len(items)),
    ],
    "batches": [(Recommender, "encode", lambda batch, table=None: len(batch.labels))],
    "tokens": [(LowerLayers, "padded", lambda ids, lengths, mean=False: int(lengths.max()) * len(lengths))],
    "layer tokens": [(UpperLayers, "padded", lambda states, lengths: int(lengths.max()) * len(lengths))],
}


def shorten(
    monkeypatch: pytest.MonkeyPatch, place: str, limit: int, error: Callable[[], Exception] = ERRORS["cuda"]
) -> list[int]:
    """Let a place fail where it is asked for more than ``limit``; gives what it is asked for, in order."""
    asked: list[int] = []
    for owner, method, size in PLACES[place]:
        monkeypatch.setattr(owner, method, _short(getattr(owner, method), size, asked, limit, error))
    monkeypatch.setattr("gc.collect", lambda: 0)  # long, after all that pytest imports; see test_halving
    return asked


def _short(
    plain: Callable[..., Any],
    size: Callable[..., int],
    asked: list[int],
    limit: int,
    error: Callable[[], Exception],
) -> Callable[..., Any]:
    def short(self: Any, *given: Any, **named: Any) -> Any:
        asked.append(size(*given, **named))
        found = plain(self, *given, **named)  # it comes late, when there is something to let go
        if asked[-1] > limit:
            raise error()
        return found

    return short
