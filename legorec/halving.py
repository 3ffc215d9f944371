"""Work on many rows in pages that fit in memory: when one does not, pages are halved."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Rows = TypeVar("Rows", np.ndarray, Tensor)
Done = TypeVar("Done")

# Messages of a plain RuntimeError for lack of memory: torch on the CPU, CUDA and its libraries, MPS.
_SAID = ("can't allocate memory", "not enough memory", "bad_alloc", "out of memory", "ALLOC_FAILED")


class NoMemoryError(ValueError):
    """Memory is short and the work cannot be halved any further; the message says what to change."""


def lacks_memory(error: Exception) -> bool:
    """Whether an error means that memory is short.

    Even on CUDA, which runs asynchronously, such an error is raised by the call that requests the memory.
    """
    if isinstance(error, RuntimeError) and any(text in str(error) for text in _SAID):
        return True
    return isinstance(error, MemoryError | torch.OutOfMemoryError | NoMemoryError)


def first_line(error: Exception) -> str:
    """The first line of an error's message; in CUDA's, advice follows."""
    return (str(error).splitlines() or [type(error).__name__])[0].partition(". GPU ")[0]


class Halving:
    """The size of a page, which is halved for good when the work on a page does not fit in memory.

    Args:
        size: of the first page.
        setting: name of the setting that gives the size, for messages.
        say: called with a message about each size that did not fit and the smaller one that did.
    """

    def __init__(self, size: int, setting: str, say: Callable[[str], None] = warnings.warn) -> None:
        self.size, self.setting, self.say = size, setting, say

    def pages(
        self,
        rows: Rows,
        run: Callable[[Rows], Done],
        name: Callable[[int], str],
        fitting: Callable[[Rows, int], int] = lambda rows, size: size,
    ) -> Iterator[Done]:
        """The results of ``run``, page by page, in the order of the rows; without rows, one empty page.

        A row's result must not depend on the rest of its page. ``run`` may be called again for rows it has
        partly done, and may itself take less at a time as ``size`` shrinks.

        Args:
            name: of a row, for the message that not even one fits.
            fitting: (rows, size) -> how many of the first rows make a page of that size; at least 1.

        Raises:
            NoMemoryError: one row does not fit at a size of 1.
        """
        start = 0
        while True:
            count, done = self._first(rows[start:], run, name, fitting)
            yield done
            start += count
            if start == len(rows):
                return

    def _first(
        self,
        rows: Rows,
        run: Callable[[Rows], Done],
        name: Callable[[int], str],
        fitting: Callable[[Rows, int], int],
    ) -> tuple[int, Done]:
        """How many rows the first page has, once it fits, and its result."""
        before = self.size
        while True:
            size = self.size  # another thread may halve it meanwhile
            page = rows[: fitting(rows, size)]
            try:
                done = run(page)
            except (MemoryError, RuntimeError, NoMemoryError) as error:
                if not lacks_memory(error):
                    raise
                reason = first_line(error)
            else:
                if self.size < before:
                    self.say(
                        f"out of memory with {self.setting} {before}; going on with {self.setting} "
                        f"{self.size}, which gives the same result"
                    )
                return len(page), done
            # After the handler: inside it, the error keeps the frames of the attempt and their tensors alive.
            if size == 1:
                raise NoMemoryError(
                    f"out of memory with {name(int(page[0]))} alone ({reason}), so that {self.setting} "
                    "cannot be halved any more; cut it shorter in the data layer (`max_length`, `text`), or "
                    "take a device with more memory"
                )
            size //= 2
            while len(page) > 1 and fitting(rows, size) >= len(page):
                size //= 2
            self.size = min(self.size, size)
            gc.collect()  # some libraries keep an error in a frame that the error refers to
            _give_back()


def _give_back() -> None:
    """Let an accelerator's allocator give back what it keeps for later, in pieces of the wrong size."""
    there = torch.accelerator.current_accelerator()
    if there is not None:
        getattr(torch.get_device_module(there), "empty_cache", lambda: None)()
