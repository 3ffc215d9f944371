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
from legorec.recommender import module_device


class Stream(Protocol):
    """Numbered batches, and which of them an epoch has."""

    seed: int

    def epoch(self, number: int) -> range: ...

    def batch(self, number: int) -> ClickBatch: ...


class Objective(Protocol):
    """(model, batch) -> Loss; ``count`` tells the divisor without running the model."""

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
            raise NonFiniteError(_describe(what, values[first], self.steps[first][0]))
        self.steps.clear()


def _describe(what: str, values: Tensor, batches: Sequence[ClickBatch]) -> str:
    numbers = ", ".join(str(batch.number) for batch in batches)
    groups = sorted({int(group) for batch in batches for group in batch.group.tolist()})
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
) -> Iterator[Progress]:
    """Train from where ``progress`` stands, for as long as the caller asks for more.

    Yields ``progress`` (the same object, updated) at the end of every epoch (``epoch_done``), after every
    ``save_every`` optimizer steps, and after every step while ``stop()`` is true. Gradients are those of the
    mean loss over all examples of a step, however many batches it is cut into; the last step of an epoch may
    have fewer.

    Args:
        advanced: called after each step with the batches done and the batches of the epoch.

    Raises:
        NonFiniteError: naming the batch. On the CPU the weights are those before its step; a device that runs
            ahead is asked every ``check_every`` steps and before control is handed back.
    """
    device = module_device(model)
    step = _Step(model, objective, optimizer, options, stream.seed, device)
    for epoch in itertools.count(progress.epoch + int(progress.epoch_done)):
        batches = stream.epoch(epoch)
        if progress.epoch_done:
            progress.epoch, progress.loss_sum, progress.loss_count, progress.epoch_done = epoch, 0.0, 0, False
        progress.next_batch = max(progress.next_batch, batches.start)
        # Added one by one, in place: the sum does not depend on where the epoch was cut, and a small tensor
        # kept from every step would hold the heap apart (a third more memory after 60 steps).
        losses = torch.tensor(progress.loss_sum, dtype=_widest(device), device=device)
        model.train()
        while progress.next_batch < batches.stop:
            numbers = range(progress.next_batch, min(progress.next_batch + options.accumulate, batches.stop))
            group = [stream.batch(number) for number in numbers]
            losses += step(group, progress.step)
            progress.next_batch, progress.step = numbers.stop, progress.step + 1
            progress.loss_count += sum(objective.count(batch) for batch in group)
            advanced(progress.next_batch - batches.start, len(batches))
            save = options.save_every > 0 and progress.step % options.save_every == 0
            if (save or stop()) and progress.next_batch < batches.stop:
                step.watch.check()
                progress.loss_sum = float(losses)
                yield progress
                model.train()
        step.watch.check()
        progress.loss_sum, progress.epoch_done = float(losses), True
        yield progress


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
    ) -> None:
        self.model, self.objective, self.optimizer = model, objective, optimizer
        self.options, self.seed, self.device = options, seed, device
        self.parameters = list(trainable(model).values())
        self.watch = _Watch(every=1 if device.type == "cpu" else options.check_every)

    def __call__(self, group: Sequence[ClickBatch], number: int) -> Tensor:
        """The sum of the group's losses, still on the device."""
        count = sum(self.objective.count(batch) for batch in group)
        set_learning_rate(self.optimizer, number, self.options.warmup)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for batch in group:
            torch.manual_seed(torch_seed(self.seed, batch.number))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.bf16):
                loss = self.objective(self.model, batch.to(self.device))
            (loss.total / count).backward()
            total = total + loss.total.detach()
        norm = torch.nn.utils.get_total_norm(gradients(self.parameters))
        self.watch.add(group, total, norm)
        if self.options.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.options.clip_norm, norm)
        self.optimizer.step()
        return total
