"""Gathering the states of the next batch while the device works on this one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from legorec.lm.state_cache.reading import HiddenStateCache


class Prefetcher:
    """Gathers ahead in one thread, into pinned memory where there is CUDA.

    Three are kept, for a page, the page after it, and the first page of the next batch may all be under way.
    It can be dropped at any time: the thread ends with it, after the gather that it is at.
    """

    def __init__(self, cache: HiddenStateCache, pinned: bool | None = None) -> None:
        self.cache = cache
        self.pinned = torch.cuda.is_available() if pinned is None else pinned
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
            (items, self._thread.submit(_gathered, self.cache, items, self.pinned)),
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
        return _gathered(self.cache, items, self.pinned)


def _gathered(cache: HiddenStateCache, items: Tensor, pinned: bool) -> Tensor:
    if not pinned:
        return cache.gather(items)
    # Pinned memory comes from torch's own cache, which keeps a block until copies from it are done.
    num_tokens = cache.num_tokens_of(items)
    buffer = torch.empty(num_tokens, cache.width, dtype=cache.dtype, pin_memory=True)
    return cache.gather(items, out=buffer)
