"""Work on many rows in pages that memory holds: where one does not fit, pages are halved."""

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

# What a plain RuntimeError says where memory is short: torch's on the CPU, CUDA's and its libraries', MPS's.
_SAID = ("can't allocate memory", "not enough memory", "bad_alloc", "out of memory", "ALLOC_FAILED")


class NoMemoryError(ValueError):
    """Memory does not hold what cannot be halved any more; the message says what to change."""


def lacks_memory(error: Exception) -> bool:
    """Whether an error says that memory is short.

    Also on CUDA, which runs behind, such an error is raised by the very call that asks for the memory.
    """
    if isinstance(error, RuntimeError) and any(text in str(error) for text in _SAID):
        return True
    return isinstance(error, MemoryError | torch.OutOfMemoryError | NoMemoryError)


def first_line(error: Exception) -> str:
    """What an error says, in one line; CUDA's goes on with advice of its own."""
    return (str(error).splitlines() or [type(error).__name__])[0].partition(". GPU ")[0]


class Halving:
    """The size of a page, which is halved for good where memory does not hold what is done with one.

    Args:
        size: of a page, to begin with.
        setting: what gives the size, for messages.
        say: told of each size that did not fit, with the smaller one that did.
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
        """What ``run`` gives of the rows, page by page, in their order; no rows are an empty page.

        A row's result may not depend on the others of its page. ``run`` may be called again for rows of
        which it did a part, and may itself take less at a time as ``size`` shrinks.

        Args:
            name: of a row, for the message that not even one fits.
            fitting: how many of the first of some rows are a page of some size; at least 1.

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
        """How many of the rows are the first page, once it fits, and its result."""
        before = self.size
        while True:
            page = rows[: fitting(rows, self.size)]
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
            # Behind the handler: while it runs, the error holds the frames of the attempt and their tensors.
            if self.size == 1:
                raise NoMemoryError(
                    f"out of memory with {name(int(page[0]))} alone ({reason}), so that {self.setting} "
                    "cannot be halved any more; cut it shorter in the data layer (`max_length`, `text`), or "
                    "take a device with more memory"
                )
            self.size //= 2
            while len(page) > 1 and fitting(rows, self.size) >= len(page):
                self.size //= 2
            gc.collect()  # some libraries keep an error in a frame that it refers to
            torch.cuda.empty_cache()  # does nothing unless CUDA is in use
