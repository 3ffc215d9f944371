"""Cached states on a device; ``meta`` stands for an accelerator, so shapes and ways alone are looked at."""

import pytest
import torch

from legorec.lm.state_cache import HiddenStateCache, ServedStates
from tests.support.state_caches import build, identity, rows_of, states

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
    assert not served._resident and not served._ahead


def test_a_small_cache_is_kept_on_the_device(cache):
    served = ServedStates(cache, cache.nbytes)
    served.prefetch(ITEMS, ELSEWHERE)
    found = served.gather(ITEMS, ELSEWHERE)
    assert found.device == ELSEWHERE and found.shape == rows_of(states(), ITEMS.tolist()).shape
    kept = served._kept(ELSEWHERE)
    served.gather(ITEMS[:1], ELSEWHERE)
    assert kept is not None and served._kept(ELSEWHERE) is kept and not served._ahead


def test_a_large_cache_is_read_ahead(cache):
    served = ServedStates(cache, cache.nbytes - 1)
    served.prefetch(ITEMS, ELSEWHERE)
    assert len(served._ahead[ELSEWHERE].get()._begun) == 1
    found = served.gather(ITEMS, ELSEWHERE)
    assert found.device == ELSEWHERE and found.shape == rows_of(states(), ITEMS.tolist()).shape
    assert served._ahead[ELSEWHERE].get()._begun == [] and not served._resident


def test_r21_a_cache_for_which_there_is_no_room_is_read_from_disk(cache, monkeypatch):
    """Now and from now on; the states are the same."""
    asked = []

    def short(self: HiddenStateCache, device: torch.device) -> None:
        asked.append(device)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(HiddenStateCache, "resident", short)
    served = ServedStates(cache, cache.nbytes)
    with pytest.warns(UserWarning, match=r"all cached states \(0.00 GB\) on meta; .*a smaller --memory_gb"):
        found = served.gather(ITEMS, ELSEWHERE)
    assert found.device == ELSEWHERE and found.shape == rows_of(states(), ITEMS.tolist()).shape
    served.prefetch(ITEMS, ELSEWHERE)
    assert torch.equal(served._ahead[ELSEWHERE].get().take(ITEMS), cache.gather(ITEMS))
    served.gather(ITEMS, ELSEWHERE)
    assert len(asked) == 1


def test_r21_another_error_of_a_cache_on_the_device_passes_through(cache, monkeypatch):
    def broken(self: HiddenStateCache, device: torch.device) -> None:
        raise RuntimeError("no such device")

    monkeypatch.setattr(HiddenStateCache, "resident", broken)
    with pytest.raises(RuntimeError, match="no such device"):
        ServedStates(cache, cache.nbytes).gather(ITEMS, ELSEWHERE)
