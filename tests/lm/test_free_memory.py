"""The memory that a run may plan with, as the system reports it."""

from __future__ import annotations

import pytest
import torch

from legorec.lm import free_memory as module
from legorec.lm.free_memory import PART, free_memory
from legorec.processes import Processes

CPU = torch.device("cpu")


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Writes what the system reports; returns the folder of the control group."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  2000 kB\nMemFree:  10 kB\nMemAvailable:  1000 kB\n")
    monkeypatch.setattr(module, "_MEMINFO", meminfo)
    monkeypatch.setattr(module, "_CGROUP", tmp_path)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    return tmp_path


def test_what_is_available_counts_and_processes_share_it(system, monkeypatch):
    assert free_memory(CPU) == int(PART * 1_024_000)
    assert free_memory(CPU, Processes(1, 4, 1)) == int(PART * 1_024_000 / 4)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # the others are on another machine
    assert free_memory(CPU, Processes(1, 4, 1)) == int(PART * 1_024_000 / 2)


def test_a_containers_limit_counts(system):
    (system / "memory.stat").write_text("anon 100000\nfile 700000\n")
    (system / "memory.max").write_text("600000\n")
    assert free_memory(CPU) == int(PART * 500_000)
    (system / "memory.max").write_text("max\n")
    assert free_memory(CPU) == int(PART * 1_024_000)


def test_what_is_not_told_is_not_known(system):
    (system / "meminfo").write_text("nothing of the kind\n")
    assert free_memory(CPU) is None
    assert free_memory(torch.device("meta")) is None
