"""The training loop: a generator that hands control back after every epoch, and to save or to stop."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from legorec.batch import ClickBatch, Loss
from legorec.data.draws import torch_seed
from legorec.engine.optim import gradients, set_learning_rate, trainable
from legorec.engine.reduce import average_buffers, reduce_gradients, reduce_loss
from legorec.processes import ALONE, Processes
from legorec.recommender import Recommender, module_device


class Stream(Protocol):
    """Numbered batches, and which of them an epoch has.

    With several processes a batch is this one's share, and may be empty.
    """

    seed: int

    def epoch(self, number: int) -> range: ...

    def batch(self, number: int) -> ClickBatch: ...


class Objective(Protocol):
    """(model, batch) -> Loss; ``count`` tells the divisor without running the model, 0 of an empty batch."""

    def count(self, batch: ClickBatch) -> int: ...

    def __call__(self, model: nn.Module, batch: ClickBatch) -> Loss: ...


class NonFiniteError(ValueError):
    """A loss or gradient that is not finite: training stops before anything that holds it can be saved."""


@dataclass
class Progress:
    """Where training is. ``next_batch`` and ``step`` say it all: a batch is a function of its number."""

    epoch: int = 0
    next_batch: int = 0
    step: int = 0  # optimizer steps done
    loss_sum: float = 0.0  # of the epoch so far
    loss_count: int = 0
    epoch_done: bool = False

    @property
    def loss(self) -> float:
        """Mean loss of the epoch so far."""
        return self.loss_sum / max(1, self.loss_count)


@dataclass
class FitOptions:
    """How the loop steps; see ``exp.policy``."""

    accumulate: int = 1
    warmup: int = 0
    clip_norm: float | None = None
    bf16: bool = False
    save_every: int = 0  # optimizer steps between hand-backs inside an epoch, 0: none
    check_every: int = 50  # steps between checks for non-finite values on a device that runs ahead (CUDA)

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise ValueError(f"`acc_batch` must be at least 1, got {self.accumulate}")


@dataclass
class _Watch:
    """Losses and gradient norms that were not looked at yet. Looking costs a wait for the device."""

    every: int
    processes: Processes
    steps: list[tuple[Sequence[ClickBatch], Tensor, Tensor]] = field(default_factory=list)

    def add(self, batches: Sequence[ClickBatch], loss: Tensor, norm: Tensor) -> None:
        self.steps.append((batches, loss, norm))
        if len(self.steps) >= self.every:
            self.check()

    def check(self) -> None:
        if not self.steps:
            return
        values = torch.stack([torch.stack([loss, norm.to(loss.dtype)]) for _, loss, norm in self.steps]).cpu()
        finite = values.isfinite()
        if not finite.all():
            first = int((~finite).any(1).nonzero()[0])
            what = "loss" if not finite[first, 0] else "gradient"
            raise NonFiniteError(self._describe(what, values[first], self.steps[first][0]))
        self.steps.clear()

    def _describe(self, what: str, values: Tensor, batches: Sequence[ClickBatch]) -> str:
        # Losses and gradients are sums over all processes, so that all of them come here together.
        parts = self.processes.collect([int(group) for batch in batches for group in batch.group.tolist()])
        return _message(what, values, batches, sorted({group for part in parts for group in part}))


def _message(what: str, values: Tensor, batches: Sequence[ClickBatch], groups: Sequence[int]) -> str:
    numbers = ", ".join(str(batch.number) for batch in batches)
    shown = ", ".join(map(str, groups[:10])) + (f" and {len(groups) - 10} more" if len(groups) > 10 else "")
    return (
        f"the {what} is not finite (loss {float(values[0]):g}, gradient norm {float(values[1]):g}) "
        f"at batch {numbers}, impressions {shown}; the last checkpoint is untouched. "
        "A lower `lr` or `clip_norm` may help"
    )


def fit(
    model: nn.Module,
    stream: Stream,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    options: FitOptions,
    progress: Progress,
    *,
    stop: Callable[[], bool] = lambda: False,
    advanced: Callable[[int, int], None] = lambda done, total: None,
    processes: Processes = ALONE,
) -> Iterator[Progress]:
    """Train from where ``progress`` stands, for as long as the caller asks for more.

    Yields ``progress`` (the same object, updated) at the end of every epoch (``epoch_done``), after every
    ``save_every`` optimizer steps, and after every step while ``stop()`` is true. Gradients are those of the
    mean loss over all examples of a step, however many batches, and shares of processes, it is cut into; the
    last step of an epoch may have fewer.

    Args:
        stop: with several processes, it must answer the same in all of them.
        advanced: called after each step with the batches done and the batches of the epoch.

    Raises:
        NonFiniteError: naming the batch. On the CPU the weights are those before its step; a device that runs
            ahead is asked every ``check_every`` steps and before control is handed back.
    """
    device = module_device(model)
    step = _Step(model, objective, optimizer, options, stream.seed, device, processes)
    for epoch in itertools.count(progress.epoch + int(progress.epoch_done)):
        batches = stream.epoch(epoch)
        if progress.epoch_done:
            progress.epoch, progress.loss_sum, progress.loss_count, progress.epoch_done = epoch, 0.0, 0, False
        progress.next_batch = max(progress.next_batch, batches.start)
        # Added one by one, in place: the sum does not depend on where the epoch was cut, and a small tensor
        # kept from every step would hold the heap apart (a third more memory after 60 steps).
        losses = torch.tensor(progress.loss_sum, dtype=_widest(device), device=device)
        model.train()
        left = range(progress.next_batch, batches.stop)
        for reached, group, following in _groups(stream, left, options.accumulate):
            total, count = step(group, following, progress.step)
            losses += total
            progress.next_batch, progress.step = reached, progress.step + 1
            progress.loss_count += count
            advanced(progress.next_batch - batches.start, len(batches))
            save = options.save_every > 0 and progress.step % options.save_every == 0
            if (save or stop()) and progress.next_batch < batches.stop:
                step.watch.check()
                progress.loss_sum = float(losses)
                average_buffers(model, processes)
                yield progress
                model.train()
        step.watch.check()
        progress.loss_sum, progress.epoch_done = float(losses), True
        average_buffers(model, processes)
        yield progress


def _groups(
    stream: Stream, numbers: range, size: int
) -> Iterator[tuple[int, list[ClickBatch], list[ClickBatch]]]:
    """The number behind each group of batches, the group, and the next group, which is made by then."""

    def made(start: int) -> list[ClickBatch]:
        return [stream.batch(number) for number in range(start, min(start + size, numbers.stop))]

    following = made(numbers.start)
    for start in range(numbers.start, numbers.stop, size):
        reached = min(start + size, numbers.stop)
        group, following = following, made(reached)
        yield reached, group, following


def _widest(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


class _Step:
    """One optimizer step over a group of batches."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        options: FitOptions,
        seed: int,
        device: torch.device,
        processes: Processes,
    ) -> None:
        self.model, self.objective, self.optimizer = model, objective, optimizer
        self.options, self.seed, self.device, self.processes = options, seed, device, processes
        self.parameters = list(trainable(model).values())
        self.watch = _Watch(1 if device.type == "cpu" else options.check_every, processes)

    def __call__(
        self, group: Sequence[ClickBatch], following: Sequence[ClickBatch], number: int
    ) -> tuple[Tensor, int]:
        """The sum of the group's losses, still on the device, and its count, both over all processes."""
        count = int(self.processes.sum(sum(self.objective.count(batch) for batch in group)))
        set_learning_rate(self.optimizer, number, self.options.warmup)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        # Of a short batch a process may have no share; it then takes part in the sums alone.
        own, later = ([batch for batch in each if self.objective.count(batch)] for each in (group, following))
        for batch, ahead in zip(own, [*own[1:], *later[:1], None], strict=False):
            if ahead is not None and isinstance(self.model, Recommender):
                self.model.prefetch(ahead.items)
            torch.manual_seed(torch_seed(self.seed, batch.number) + self.processes.rank)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.bf16):
                loss = self.objective(self.model, batch.to(self.device))
            (loss.total / count).backward()
            total = total + loss.total.detach()
        total = reduce_loss(total, self.processes)
        reduce_gradients(self.parameters, self.processes)
        norm = torch.nn.utils.get_total_norm(gradients(self.parameters))
        self.watch.add(group, total, norm)
        if self.options.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.options.clip_norm, norm)
        self.optimizer.step()
        return total, count
