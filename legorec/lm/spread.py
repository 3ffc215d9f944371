"""Frozen weights spread over the processes of a run, by torch's own ``fully_shard`` (FSDP2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from legorec.lm.model_types import PassThrough
from legorec.nn.drawing import undrawn
from legorec.processes import Processes


@dataclass(frozen=True)
class Part:
    """Layers whose weights are spread, and a pass through them over one token that nobody needs."""

    model: nn.Module
    layers: nn.ModuleList
    idle: Callable[[], Tensor]


@dataclass
class Spread:
    """Passes through spread layers, in which all processes take part together.

    A layer's weights are gathered when it runs, by an exchange in which every process has to take part; but
    processes have different rows, in different numbers of groups. So before each pass they meet and say which
    part they are about to run: one is chosen, those who want it run it, the others run an idle pass through
    the same layers. Who has run all of its own calls ``finish``, which idles as long as others run.

    Backward passes gather weights again, in the opposite order. Idle passes have a graph too and are added to
    the loss as zero, so that each process goes back through as many as the others.
    """

    parts: Mapping[str, Part]
    processes: Processes
    zeros: list[Tensor] = field(default_factory=list)  # of idle passes that have a graph
    idling: bool = False
    running: str = ""

    def finish(self) -> Tensor | None:
        """Take part in what other processes still run; returns the zero to add to the loss, if there is one.

        All processes call it: after the forward pass of each batch, before its backward, and after each turn
        of a ranking pass.
        """
        while chosen := self._meet(""):
            self.idle(chosen)
        found, self.zeros = self.zeros, []
        return torch.stack(found).sum() if found else None

    def enter(self, name: str) -> None:
        """Before an own pass through a part.

        Raises:
            ValueError: the last one was not finished, as memory ran out in it.
        """
        if self.idling:
            return
        if self.running:
            raise ValueError(
                "a pass through layers that are spread over processes was broken off, most likely as memory "
                "ran out; it cannot be tried again with less, as the other processes wait: lower "
                "`exp.policy.batch_size` or `exp.evaluation.batch_size` (--eval_batch_size)"
            )
        while (chosen := self._meet(name)) != name:
            self.idle(chosen)
        self.running = name

    def leave(self) -> None:
        """After an own pass."""
        if not self.idling:
            self.running = ""

    def _meet(self, name: str) -> str:
        """The first part that anybody wants to run; none where nobody does."""
        wanted = torch.tensor([each == name for each in self.parts], dtype=torch.int32)
        self.processes.add(wanted)
        return next((each for each, count in zip(self.parts, wanted.tolist(), strict=True) if count), "")

    def idle(self, name: str) -> None:
        """Run an idle pass; its zero waits for ``finish``."""
        self.idling = True
        try:
            with undrawn():
                out = self.parts[name].idle()
        finally:
            self.idling = False
        if out.requires_grad:
            self.zeros.append(out.float().sum() * 0.0)


def spread(parts: Mapping[str, Part], processes: Processes, device: torch.device) -> Spread:
    """Leave each process its share of the frozen weights of some parts, and put that on its device.

    What is trained stays whole in every process. Layer by layer, so that a device never holds all of it. All
    weights are given back after each pass: those that torch would keep until the backward pass, it also gives
    back where a checkpoint is written, which only the first process does.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (processes.world,))
    found = Spread(parts, processes)
    for name, part in parts.items():
        trained = {value for value in part.model.parameters() if value.requires_grad}
        for layer in part.layers:
            if not isinstance(layer, PassThrough):
                fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=trained)
        fully_shard(part.model, mesh=mesh, reshard_after_forward=True, ignored_params=trained)
        # Before those of fully_shard, which gather the weights.
        part.model.register_forward_pre_hook(_entering(found, name), prepend=True)
        part.model.register_forward_hook(_leaving(found))
    # The memory that weights are gathered in is made in the first pass, and kept: were that one in inference
    # mode, no later one could train.
    for name in parts:
        found.idle(name)
    found.zeros.clear()
    return found


def _entering(found: Spread, name: str) -> Callable[[nn.Module, Any], None]:
    return lambda module, inputs: found.enter(name)


def _leaving(found: Spread) -> Callable[[nn.Module, Any, Any], None]:
    return lambda module, inputs, output: found.leave()


def own_bytes(model: nn.Module) -> int:
    """Bytes of parameters that this process holds."""
    from torch.distributed.tensor import DTensor

    return sum(
        (value.to_local() if isinstance(value, DTensor) else value).nbytes for value in model.parameters()
    )


def plain_class(model: nn.Module) -> type[nn.Module]:
    """The class of a model as it was before its weights were spread."""
    return next(each for each in type(model).__mro__ if not each.__module__.startswith("torch.distributed"))
