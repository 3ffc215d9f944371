"""Pages that memory does not hold are halved (R21): in order, for good, and only for errors of memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from legorec.halving import Halving, NoMemoryError, lacks_memory
from tests.support.short_memory import ERRORS

COLLECT = gc.collect


@pytest.fixture(autouse=True)
def uncollected(monkeypatch):
    """Collecting takes long after all that pytest has imported; the test that needs it asks for it."""
    monkeypatch.setattr("gc.collect", lambda: 0)


class Memory:
    """Takes so many rows at once; remembers the pages, and how each attempt ended."""

    def __init__(self, limit: int, error: Callable[[], Exception] = ERRORS["cuda"]) -> None:
        self.limit, self.error = limit, error
        self.asked: list[int] = []

    def __call__(self, rows: np.ndarray) -> list[int]:
        self.asked.append(len(rows))
        if len(rows) > self.limit:
            raise self.error()
        return rows.tolist()


def halved(memory: Memory, count: int, size: int) -> tuple[list[int], list[str]]:
    said: list[str] = []
    pages = Halving(size, "--size", said.append).pages(np.arange(count), memory, "row {}".format)
    return [row for page in pages for row in page], said


@pytest.mark.parametrize("count", [1, 7, 20])
@pytest.mark.parametrize("size", [1, 2, 8, 100])
@pytest.mark.parametrize("limit, error", [(1, "cuda"), (3, "cpu"), (3, "python"), (100, "cuda")])
def test_r21_rows_keep_their_order_whatever_fits(count, size, limit, error):
    memory = Memory(limit, ERRORS[error])
    found, said = halved(memory, count, size)
    assert found == list(range(count))
    assert bool(said) == (max(memory.asked) > limit) == (min(size, count) > limit)


def test_r21_it_stays_halved_and_says_so_once():
    memory = Memory(3)
    found, said = halved(memory, 11, 8)
    assert memory.asked == [8, 4, 2, 2, 2, 2, 2, 1] and found == list(range(11))
    assert said == ["out of memory with --size 8; going on with --size 2, which gives the same result"]


def test_r21_it_is_halved_again_where_later_rows_need_more():
    def run(rows: Tensor) -> int:
        if len(rows) > (4 if rows[0] < 8 else 1):
            raise MemoryError
        return len(rows)

    said: list[str] = []
    pages = Halving(8, "--size", said.append).pages(torch.arange(11), run, "row {}".format)
    assert list(pages) == [4, 4, 1, 1, 1]
    assert [line[: line.index(",")] for line in said] == [
        "out of memory with --size 8; going on with --size 4",
        "out of memory with --size 4; going on with --size 1",
    ]


def test_r21_a_short_page_is_made_shorter():
    """Halving 100 once would ask for the same three rows again."""
    memory = Memory(2)
    assert halved(memory, 3, 100)[1] == [
        "out of memory with --size 100; going on with --size 1, which gives the same result"
    ]
    assert memory.asked == [3, 1, 1, 1]


def test_r21_what_is_done_with_one_row_may_shrink_too():
    """As in ranking, where the size also says how many candidates are scored at once."""
    said: list[str] = []
    halving = Halving(64, "--size", said.append)

    def run(rows: np.ndarray) -> int:
        if halving.size > 10:
            raise MemoryError
        return halving.size

    assert list(halving.pages(np.arange(1), run, "row {}".format)) == [8] and len(said) == 1


def test_r21_pages_are_as_large_as_is_said():
    """Here in tokens: rows of rising lengths."""
    lengths, memory = np.array([1, 1, 2, 3, 5, 9]), Memory(2)
    halving = Halving(12, "--tokens", lambda text: None)

    def fitting(rows: np.ndarray, size: int) -> int:
        return max(1, int((lengths[rows] * np.arange(1, len(rows) + 1) <= size).sum()))

    pages = list(halving.pages(np.arange(6), memory, "row {}".format, fitting))
    assert pages == [[0, 1], [2], [3], [4], [5]] and memory.asked[:3] == [4, 3, 2] and halving.size == 3


def test_r21_one_row_that_does_not_fit_is_named():
    with pytest.raises(NoMemoryError) as raised:
        halved(Memory(0), 5, 4)
    assert str(raised.value) == (
        "out of memory with row 0 alone (CUDA out of memory. Tried to allocate 2.00 GiB), so that --size "
        "cannot be halved any more; cut it shorter in the data layer (`max_length`, `text`), or take a "
        "device with more memory"
    )
    with pytest.raises(NoMemoryError, match=r"with row 0 alone \(MemoryError\), so"):
        halved(Memory(0, MemoryError), 1, 1)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not match"), ValueError("no"), KeyError(1), OSError(12)]
)
def test_r21_any_other_error_passes_through(error):
    def broken() -> Exception:
        return error

    memory = Memory(2, broken)
    with pytest.raises(type(error)) as raised:
        halved(memory, 5, 4)
    assert raised.value is error and memory.asked == [4] and not lacks_memory(error)


def test_r21_which_errors_are_of_memory():
    """Those of the allocators of this machine, and what others say."""
    for ask in (lambda: torch.empty(10**15), lambda: np.empty(10**15)):
        with pytest.raises((RuntimeError, MemoryError)) as raised:
            ask()
        assert lacks_memory(raised.value), raised.value
    for text in (
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "MPS backend out of memory (MPS allocated: 1 GB, other allocations: 2 GB, max allowed: 3 GB).",
        "std::bad_alloc",
    ):
        assert lacks_memory(RuntimeError(text)) and not lacks_memory(ValueError(text))
    assert lacks_memory(NoMemoryError("inside"))  # pages within a page


@pytest.mark.parametrize("caught", [False, True], ids=["plain", "held by its own frame"])
def test_r21_what_a_failed_attempt_held_is_free_before_the_next(monkeypatch, caught):
    monkeypatch.setattr("gc.collect", COLLECT)
    held: list[weakref.ref[Tensor]] = []
    gc.disable()  # so that only what is let go on purpose is free

    def run(rows: np.ndarray) -> bool:
        free = all(each() is None for each in held)
        values = torch.zeros(len(rows))
        held.append(weakref.ref(values))
        if len(rows) > 1:
            try:
                raise MemoryError
            except MemoryError as error:
                if caught:
                    kept = error  # noqa: F841  the frame and its error refer to each other
                raise
        return free

    try:
        assert (
            list(Halving(4, "--size", lambda text: None).pages(np.arange(2), run, "row {}".format))
            == [True] * 2
        )
    finally:
        gc.enable()


def test_r21_without_a_word_where_there_is_room():
    memory = Memory(100)
    assert halved(memory, 9, 4) == (list(range(9)), []) and memory.asked == [4, 4, 1]


def test_no_rows_are_an_empty_page():
    assert list(Halving(4, "--size").pages(np.arange(0), list, "row {}".format)) == [[]]


def test_r21_a_warning_where_nobody_listens():
    with pytest.warns(UserWarning, match="out of memory with --size 4; going on with --size 2"):
        list(Halving(4, "--size").pages(np.arange(4), Memory(2), "row {}".format))
