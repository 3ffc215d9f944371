"""The memory that is free for a run, on its device."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch

from legorec.processes import ALONE, Processes

PART = 0.8  # of what is free; the rest is for what cannot be told beforehand
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def free_memory(device: torch.device, processes: Processes = ALONE) -> int | None:
    """Bytes that a process may plan with; None where the device does not tell.

    On the CPU, processes on one machine divide it, and a container's limit counts.
    """
    if device.type == "cuda":
        return int(PART * torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    found = [each for each in (_available(), _container_left()) if each is not None]
    sharing = int(os.environ.get("LOCAL_WORLD_SIZE", processes.world))
    return int(PART * min(found) / max(1, sharing)) if found else None


def _available() -> int | None:
    with suppress(OSError, StopIteration, ValueError):
        lines = _MEMINFO.read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    return None


def _container_left() -> int | None:
    """What the limit of a control group leaves beside anonymous memory; pages of files can be taken back."""
    with suppress(OSError, KeyError, ValueError):
        limit = int((_CGROUP / "memory.max").read_text())  # "max" where there is none
        kinds = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return max(0, limit - int(kinds["anon"]))
    return None
