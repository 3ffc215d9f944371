"""Gathering the states of the next batch while the device works on this one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from legorec.lm.state_cache.reading import HiddenStateCache
from legorec.nn.sending import host_buffer, pins


class Prefetcher:
    """Gathers ahead in one thread, into memory that is pinned for a device that has such.

    Three are kept, for a page, the page after it, and the first page of the next batch may all be under way.
    It can be dropped at any time: the thread ends with it, after the gather that it is at.
    """

    def __init__(self, cache: HiddenStateCache, device: torch.device | None = None) -> None:
        self.cache = cache
        self.device = device if device is not None and pins(device.type) else None
        # Not a daemon thread: one that is inside torch when the interpreter goes down aborts the process.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hidden-states")
        self._begun: list[tuple[Tensor, Future[Tensor]]] = []

    def prefetch(self, items: Tensor) -> None:
        """Begin to gather ``items``; of what was begun and not taken, all but the last two is let go."""
        for _, gathering in self._begun[:-2]:
            gathering.cancel()
        items = items.clone()  # the caller may go on to change its own
        self._begun = [
            *self._begun[-2:],
            (items, self._thread.submit(_gathered, self.cache, items, self.device)),
        ]

    def take(self, items: Tensor) -> Tensor:
        """States of ``items``: those begun ahead if they are of these, else gathered now.

        Raises: what gathering raised.
        """
        for begun, gathering in self._begun:
            if torch.equal(begun, items):
                # A new list: another thread may be looking through this one.
                self._begun = [each for each in self._begun if each[1] is not gathering]
                return gathering.result()
        return _gathered(self.cache, items, self.device)


def _gathered(cache: HiddenStateCache, items: Tensor, device: torch.device | None) -> Tensor:
    if device is None:
        return cache.gather(items)
    buffer = host_buffer(cache.num_tokens_of(items), cache.width, dtype=cache.dtype, device=device)
    return cache.gather(items, out=buffer)
