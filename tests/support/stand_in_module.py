"""``torch.standin``: what torch and the library ask of a device's module, for ``stand_in``."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from tests.support.stand_in import StandIn

ENTERED: list[StandIn] = []  # the one that is entered, if one is


class Event:
    """What waits for the work that was queued before it was recorded, and for that alone."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.queued = -1

    def record(self, *_: Any) -> None:
        self.queued = ENTERED[-1].queued

    def synchronize(self) -> None:
        if self.queued == ENTERED[-1].queued:  # nothing goes on meanwhile
            ENTERED[-1].note("an event with nothing queued after it")


class Module:
    """``torch.standin``."""

    _initialized = True
    Event = Event

    @staticmethod
    def is_available() -> bool:
        return bool(ENTERED)

    is_initialized = is_available

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def set_device(device: Any) -> None:
        ENTERED[-1].chosen.append(torch.device(device).index)

    @staticmethod
    def device(device: Any) -> Any:
        return nullcontext()

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        if ENTERED:
            # Apart from the host's numbers, so that a draw in the wrong place is seen.
            ENTERED[-1].generator.manual_seed(seed + 1)

    @staticmethod
    def get_rng_state(device: Any = None) -> Tensor:
        return ENTERED[-1].generator.get_state()

    @staticmethod
    def set_rng_state(state: Tensor, device: Any = None) -> None:
        ENTERED[-1].generator.set_state(state)

    @staticmethod
    def synchronize(device: Any = None) -> None:
        ENTERED[-1].note("synchronize")

    @staticmethod
    def empty_cache() -> None:
        for device in ENTERED:
            device.emptied += 1

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]
