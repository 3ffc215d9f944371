"""Cached states where they are asked for: mapped files, a tensor on the device, or read ahead from disk."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import torch
from torch import Tensor

from legorec.halving import lacks_memory
from legorec.lm.state_cache.ahead import Prefetcher
from legorec.lm.state_cache.reading import HiddenStateCache, ResidentStates
from legorec.nn.sending import pins
from legorec.threads import Once


class ServedStates:
    """Hands out the states of a cache on any device.

    Args:
        memory: bytes; a cache up to this size is kept on an accelerator. A larger one, and one for which
            there is no room, is read from disk batch by batch. On the CPU it stays mapped files, whatever its
            size.
    """

    def __init__(self, cache: HiddenStateCache, memory: int) -> None:
        self.cache = cache
        self.memory = memory
        self._resident: dict[torch.device, Once[ResidentStates | None]] = {}
        self._ahead: dict[torch.device, Once[Prefetcher]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """A copy and a pickle begin anew: what lies on a device, and the thread that reads, stay here."""
        return {"cache": self.cache, "memory": self.memory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def gather(self, items: Tensor, device: torch.device) -> Tensor:
        """States (T, E) of ``items`` (n,), rows of the catalogue on the host, packed in their order."""
        if device.type == "cpu":
            return self.cache.gather(items)
        if self._is_kept(device) and (kept := self._kept(device)) is not None:
            return kept.gather(items)
        return self._reader(device).take(items).to(device, non_blocking=pins(device.type))

    def prefetch(self, items: Tensor, device: torch.device) -> None:
        """Begin to read the states of ``items`` from disk, to be asked for next."""
        if device.type != "cpu" and not self._is_kept(device):
            self._reader(device).prefetch(items)

    def _is_kept(self, device: torch.device) -> bool:
        return device.type != "cpu" and self.cache.nbytes <= self.memory

    def _kept(self, device: torch.device) -> ResidentStates | None:
        """All states on the device; None, now and from now on, if there is no room for them."""
        if device not in self._resident:
            for elsewhere in self._resident.keys() - {device}:
                self._resident.pop(elsewhere, None)
            self._resident.setdefault(device, Once(partial(self._moved, device)))
        return self._resident[device].get()

    def _moved(self, device: torch.device) -> ResidentStates | None:
        try:
            return self.cache.resident(device)
        except (MemoryError, RuntimeError) as error:
            if not lacks_memory(error):
                raise
            size, self.memory = self.cache.nbytes / 2**30, 0
            warnings.warn(
                f"out of memory with all cached states ({size:.2f} GB) on {device}; going on to read "
                "them from disk, as with a smaller --memory_gb, which gives the same result",
                stacklevel=4,
            )
            return None

    def _reader(self, device: torch.device) -> Prefetcher:
        return self._ahead.setdefault(device, Once(partial(Prefetcher, self.cache, device))).get()
