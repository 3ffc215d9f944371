"""The device of a run."""

from __future__ import annotations

import torch

from legorec.processes import ALONE, Processes


def choose_device(name: str, processes: Processes = ALONE) -> torch.device:
    """The device of a run, which becomes the current one, so that nothing is set up on another.

    ``auto`` takes the accelerator there is, else the CPU; of several processes each takes its own.

    Raises:
        ValueError: it cannot be used here, or there are fewer than processes.
    """
    device = _own_device(name, processes) if processes.world > 1 else usable_device(name)
    if device.type not in ("cpu", "mps") and device.index is not None:
        torch.get_device_module(device).set_device(device.index)  # nccl and pinned memory look there
    return device


def usable_device(name: str) -> torch.device:
    """A device by its name; ``auto`` as for a run.

    Raises:
        ValueError: it cannot be used here.
    """
    if name != "auto":
        try:
            return torch.zeros(0, device=name).device
        except (RuntimeError, AssertionError) as error:
            first = str(error).splitlines()[0].partition(". ")[0]
            raise ValueError(f"`device` '{name}' cannot be used here: {first}") from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.xpu.is_available():
        return torch.device("xpu")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _own_device(name: str, processes: Processes) -> torch.device:
    """The CPU, or the CUDA device that has this process's number on its machine."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if name not in ("auto", "cuda"):
        raise ValueError(
            f"`device` must be auto, cuda or cpu for {processes.world} processes, each of which takes a "
            f"device of its own; got '{name}'"
        )
    count = torch.cuda.device_count()
    if processes.local_rank >= count:
        raise ValueError(
            f"`device` '{name}' must give each process on this machine a CUDA device of its own, got "
            f"{processes.local_rank + 1} or more processes for {count}; start fewer, or take --device cpu"
        )
    return torch.device("cuda", processes.local_rank)
