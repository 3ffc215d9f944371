"""Cached states of a language model on a device: written without waiting, read ahead from disk."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from legorec.halving import Halving
from legorec.lm import build_cache
from legorec.lm.cut import LowerLayers
from legorec.lm.state_cache import HiddenStateCache
from tests.contracts.test_device import held_in_recomputation, named_task
from tests.support.language_runs import text_catalog
from tests.support.named_runs import NamedModels
from tests.support.on_devices import CPU, STEPS, gradients, hold
from tests.support.stand_in import StandIn, available

pytestmark = pytest.mark.skipif(not available(), reason="this torch has no backends in Python")


class Writer:
    """One depth of a cache, as ``states_of`` asks for it."""

    def __init__(self, depth: int) -> None:
        self.identity = type("Identity", (), {"depth": depth, "dtype": "fp32"})


def states(checkpoint: Any, device: torch.device) -> dict[int, torch.Tensor]:
    lower = LowerLayers(checkpoint("llama"), [1, 2]).to(device)
    catalog, batches = text_catalog().to(device), Halving(16, "tokens", print)
    writers: Any = [Writer(1), Writer(2)]
    return build_cache.states_of(lower, catalog, range(12), writers, batches, lambda items: None)


def test_the_cache_run_waits_once_a_shard(checkpoint: Any) -> None:
    wanted = states(checkpoint, CPU)
    with StandIn() as device:
        found = states(checkpoint, device.device)
        waits = {what: count for what, count in device.waits.items() if "blocking" not in what}
    assert len(build_cache_batches()) >= 3
    assert sum(waits.values()) == 1 and "an event with nothing queued after it" in str(waits), waits
    for depth, value in wanted.items():
        torch.testing.assert_close(found[depth], value, rtol=1e-4, atol=1e-5)


def build_cache_batches() -> list[np.ndarray]:
    lengths = text_catalog().lengths.sum(1).numpy()
    return list(build_cache.length_sorted_batches(lengths, 16))


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> NamedModels:
    return NamedModels(tmp_path_factory.mktemp("named"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert-naml", "llama-iisan-naml"])
def test_states_on_disk_are_read_ahead(
    name: str, named: NamedModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of pages too, forward and again: no thread but the reader's gathers any after the first batch."""
    made = named_task(named.settings(name, epoch_batch=STEPS, memory_gb=0, item_page_size=8))
    hold(made, tmp_path)
    held_in_recomputation(made)
    calls: list[bool] = []
    gather = HiddenStateCache.gather

    def counted(self: HiddenStateCache, items: Any, out: Any = None) -> Any:
        calls.append(threading.current_thread() is threading.main_thread())
        return gather(self, items, out)

    monkeypatch.setattr(HiddenStateCache, "gather", counted)
    with StandIn() as device:
        task = made(device.device).task
        batch = task.learning().stream.batch(0)
        task.model.item_page_size = 8
        task.model.prefetch(batch.items)
        gradients(task, device.device, 8)
    pages = -(-len(batch.items) // 8)
    assert pages >= 3 and calls.count(False) >= 2 * pages - 1 and not any(calls), calls
