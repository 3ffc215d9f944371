"""Cached states on a device; ``meta`` stands for an accelerator, so shapes and ways alone are looked at."""

import pytest
import torch

from legorec.lm.state_cache import HiddenStateCache, ServedStates
from tests.lm.state_cache.small import build, identity, rows_of, states

HOST, ELSEWHERE = torch.device("cpu"), torch.device("meta")
ITEMS = torch.tensor([7, 0, 3, 7])


@pytest.fixture
def cache(tmp_path):
    build(tmp_path, dtype="fp32")
    return HiddenStateCache.open(tmp_path, identity(dtype="fp32"))


@pytest.mark.parametrize("memory", [0, 10**9])
def test_on_the_host_they_stay_mapped(cache, memory):
    served = ServedStates(cache, memory)
    served.prefetch(ITEMS, HOST)
    assert torch.equal(served.gather(ITEMS, HOST), rows_of(states(), ITEMS.tolist()))
    assert served._resident is None and served._ahead is None


def test_a_small_cache_is_kept_on_the_device(cache):
    served = ServedStates(cache, cache.nbytes)
    served.prefetch(ITEMS, ELSEWHERE)
    found = served.gather(ITEMS, ELSEWHERE)
    assert found.device == ELSEWHERE and found.shape == rows_of(states(), ITEMS.tolist()).shape
    kept = served._resident
    served.gather(ITEMS[:1], ELSEWHERE)
    assert kept is not None and served._resident is kept and served._ahead is None


def test_a_large_cache_is_read_ahead(cache):
    served = ServedStates(cache, cache.nbytes - 1)
    served.prefetch(ITEMS, ELSEWHERE)
    assert served._ahead is not None and len(served._ahead._begun) == 1
    found = served.gather(ITEMS, ELSEWHERE)
    assert found.device == ELSEWHERE and found.shape == rows_of(states(), ITEMS.tolist()).shape
    assert served._ahead._begun == [] and served._resident is None
