"""States gathered ahead are those asked for, and no thread keeps a program alive."""

import gc
import subprocess
import sys
import threading
import time
import weakref

import pytest
import torch

from legorec.lm.state_cache import HiddenStateCache, Prefetcher
from tests.support.state_caches import build, identity, rows_of, states


@pytest.fixture
def cache(tmp_path):
    build(tmp_path, dtype="fp32")
    return HiddenStateCache.open(tmp_path, identity(dtype="fp32"))


class Counting:
    """A cache that notes what is gathered in which thread."""

    width, dtype = 4, torch.float32

    def __init__(self, cache):
        self.cache, self.calls = cache, []

    def gather(self, items, out=None):
        self.calls.append((items.tolist(), threading.current_thread() is threading.main_thread()))
        return self.cache.gather(items, out)


def test_ahead_or_now(cache):
    counting = Counting(cache)
    ahead = Prefetcher(counting)
    one, other = torch.tensor([1, 3]), torch.tensor([7, 2])
    ahead.prefetch(one)
    assert torch.equal(ahead.take(one.clone()), rows_of(states(), [1, 3]))
    assert counting.calls == [([1, 3], False)]
    ahead.prefetch(one)
    assert torch.equal(ahead.take(other), rows_of(states(), [7, 2])), "others than those begun ahead"
    assert torch.equal(ahead.take(one), rows_of(states(), [1, 3])), "still there"
    assert sorted(counting.calls[1:]) == [([1, 3], False), ([7, 2], True)]
    assert torch.equal(ahead.take(one), rows_of(states(), [1, 3])), "taken once, gone"
    assert counting.calls[-1] == ([1, 3], True)


def test_the_next_batch_is_begun_before_this_one_is_taken(cache):
    """As training asks: this batch's pages one behind the other, with the next batch's first among them."""
    counting = Counting(cache)
    ahead = Prefetcher(counting)
    pages = [torch.tensor([row]) for row in (1, 3, 5, 7, 2, 0)]
    ahead.prefetch(pages[0])
    ahead.prefetch(pages[4])  # the next batch
    for place, page in enumerate(pages[:4]):
        if place < 3:
            ahead.prefetch(pages[place + 1])
        assert torch.equal(ahead.take(page), rows_of(states(), page.tolist()))
    assert torch.equal(ahead.take(pages[4]), rows_of(states(), [2]))
    assert not any(in_main for _, in_main in counting.calls) and len(counting.calls) == 5


def test_items_changed_meanwhile_are_not_those_begun(cache):
    ahead, items = Prefetcher(cache), torch.tensor([1, 3])
    ahead.prefetch(items)
    items[0] = 7
    assert torch.equal(ahead.take(items), rows_of(states(), [7, 3]))


def test_what_went_wrong_is_raised_when_taken(cache):
    ahead, wrong = Prefetcher(cache), torch.tensor([99])
    ahead.prefetch(wrong)
    with pytest.raises(ValueError, match="got 99"):
        ahead.take(wrong)
    assert len(ahead.take(torch.tensor([1]))) == 3


def test_dropped_with_its_thread(cache):
    ahead = Prefetcher(cache)
    ahead.prefetch(torch.tensor([1]))
    reference = weakref.ref(ahead)
    del ahead
    gc.collect()
    assert reference() is None
    until = time.monotonic() + 10
    while any(thread.name.startswith("hidden-states") for thread in threading.enumerate()):
        assert time.monotonic() < until, "the thread goes on"
        time.sleep(0.01)


@pytest.mark.slow
def test_a_program_ends_while_it_gathers(cache, tmp_path):
    code = f"""
import time, torch
from legorec.lm.state_cache import HiddenStateCache, Prefetcher
from tests.support.state_caches import identity
cache = HiddenStateCache.open({str(tmp_path)!r}, identity(dtype="fp32"))
gather, cache.gather = cache.gather, lambda items, out=None: (time.sleep(0.3), gather(items, out))[1]
ahead = Prefetcher(cache)
ahead.prefetch(torch.tensor([1]))
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_device(cache):
    ahead, items = Prefetcher(cache, torch.device("cuda")), torch.tensor([7, 1, 14, 1])
    ahead.prefetch(items)
    found = ahead.take(items)
    assert found.is_pinned() and torch.equal(found, rows_of(states(), [7, 1, 14, 1]))
    resident = cache.resident("cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        there = resident.gather(items)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(there.cpu(), found)
