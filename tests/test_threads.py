"""What is made once for all threads, and what is left of it in a copy, a pickle and a forked process."""

from __future__ import annotations

import copy
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch

from legorec.threads import Once, after_fork
from tests.support.forking import in_a_fork

MADE: list[int] = []


def slowly(value: int) -> list[int]:
    MADE.append(value)
    time.sleep(0.05)
    return [value]


def test_it_is_made_once_for_many_threads():
    MADE.clear()
    once = Once(partial(slowly, 7))
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda _: once.get(), range(32)))
    assert MADE == [7] and all(each is found[0] for each in found)


def test_one_that_could_not_be_made_is_tried_again():
    tries = iter([MemoryError(), None])

    def make() -> int:
        if (problem := next(tries)) is not None:
            raise problem
        return 3

    once = Once(make)
    with pytest.raises(MemoryError):
        once.get()
    assert once.get() == 3


def test_a_copy_and_a_pickle_have_what_was_made():
    MADE.clear()
    fresh, once = Once(partial(slowly, 5)), Once(partial(slowly, 6))
    once.get()
    for again in (copy.deepcopy(once), pickle.loads(pickle.dumps(once))):
        assert again.get() == [6] and again.get() is not once.get()
    assert MADE == [6]
    assert pickle.loads(pickle.dumps(fresh)).get() == [5] and MADE == [6, 5]


def test_a_fork_while_another_thread_makes_it_does_not_hang():
    held, go_on = threading.Event(), threading.Event()

    def make() -> int:
        held.set()
        return int(go_on.wait(20))

    once = Once(make)
    thread = threading.Thread(target=once.get)
    thread.start()
    held.wait()

    def child() -> int:
        go_on.set()
        return once.get()

    assert in_a_fork(child) == 1
    go_on.set()
    thread.join()


def test_torch_works_in_one_thread_after_a_fork_and_in_as_many_as_before_without():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        wide = torch.ones(1500, 1500)
        wanted = float((wide @ wide).sum())  # in two threads

        def child() -> tuple[int, float]:
            after_fork(torch.device("cpu"))
            return torch.get_num_threads(), float((wide @ wide).sum())

        after_fork(torch.device("cpu"))
        assert torch.get_num_threads() == 2
        assert in_a_fork(child) == (1, wanted)
    finally:
        torch.set_num_threads(before)


def test_an_accelerator_is_refused_after_a_fork():
    after_fork(torch.device("cuda"))
    told = in_a_fork(partial(refused, os.getpid()))
    assert told == (
        "a model on 'cuda' cannot be used in a process that was forked from the one that loaded it; "
        "load it in the child, or start children with the method 'spawn'"
    )


def refused(parent: int) -> str:
    assert os.getpid() != parent
    with pytest.raises(ValueError) as found:
        after_fork(torch.device("cuda"))
    return str(found.value)
