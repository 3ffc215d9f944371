"""Gathering the states of the next batch while the device works on this one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from legorec.lm.state_cache.reading import HiddenStateCache


class Prefetcher:
    """Gathers ahead in one thread, into pinned memory where there is CUDA; at most one batch is ahead.

    It can be dropped at any time: the thread ends with it, after the gather that it is at.
    """

    def __init__(self, cache: HiddenStateCache, pinned: bool | None = None) -> None:
        self.cache = cache
        self.pinned = torch.cuda.is_available() if pinned is None else pinned
        # Not a daemon thread: one that is inside torch when the interpreter goes down aborts the process.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hidden-states")
        self._ahead: tuple[Tensor, Future[Tensor]] | None = None

    def prefetch(self, items: Tensor) -> None:
        """Begin to gather ``items``; what was begun before and not taken is let go."""
        if self._ahead is not None:
            self._ahead[1].cancel()
        items = items.clone()  # the caller may go on to change its own
        self._ahead = items, self._thread.submit(_gathered, self.cache, items, self.pinned)

    def take(self, items: Tensor) -> Tensor:
        """States of ``items``: those begun ahead if they are of these, else gathered now.

        Raises: what gathering raised.
        """
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            if torch.equal(ahead[0], items):
                return ahead[1].result()
            ahead[1].cancel()
        return _gathered(self.cache, items, self.pinned)


def _gathered(cache: HiddenStateCache, items: Tensor, pinned: bool) -> Tensor:
    if not pinned:
        return cache.gather(items)
    # Pinned memory comes from torch's own cache, which keeps a block until copies from it are done.
    num_tokens = cache.num_tokens_of(items)
    buffer = torch.empty(num_tokens, cache.width, dtype=cache.dtype, pin_memory=True)
    return cache.gather(items, out=buffer)
