"""Seconds of contenders that take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch

Turn = Callable[[], Any]


def seconds(turn: Turn, device: torch.device | str = "cpu") -> float:
    """Wall time of one call, until the device is done."""
    device = torch.device(device)
    wait = (lambda: None) if device.type == "cpu" else torch.get_device_module(device).synchronize
    wait()
    begin = time.perf_counter()
    turn()
    wait()
    return time.perf_counter() - begin


def in_turns(
    contenders: Mapping[str, Turn], rounds: int, device: torch.device | str = "cpu", warm_up: int = 1
) -> dict[str, list[float]]:
    """Name -> seconds of each round, one contender after the other, after ``warm_up`` uncounted rounds."""
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(warm_up + rounds):
        for name, contender in contenders.items():
            taken = seconds(contender, device)
            if turn >= warm_up:
                spent[name].append(taken)
    return spent


def medians(spent: Mapping[str, list[float]]) -> dict[str, float]:
    """Name -> the median of its rounds."""
    return {name: median(each) for name, each in spent.items()}
