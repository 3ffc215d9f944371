"""The training loop: a generator that yields after every epoch, and whenever it is time to save or stop."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from legorec.batch import Batch, Loss
from legorec.data.draws import torch_seed
from legorec.engine.losses import EpochLoss, Progress, StepLoss, TermSums, divided
from legorec.engine.optim import Schedule, gradients, set_learning_rate, trainable
from legorec.engine.reduce import average_buffers, reduce_gradients, reduce_sums
from legorec.engine.together import finishing
from legorec.nn.device import module_device
from legorec.nn.drawing import drawing
from legorec.processes import ALONE, Processes

__all__ = ["FitOptions", "NonFiniteError", "Objective", "Progress", "Stream", "fit"]


class Stream(Protocol):
    """Numbered batches, and which of them an epoch has.

    With several processes a batch is this one's share, and may be empty.
    """

    seed: int

    def epoch(self, number: int) -> range: ...

    def batch(self, number: int) -> Any: ...


class Objective(Protocol):
    """(model, batch) -> Loss."""

    def counts(self, batch: Any) -> Mapping[str, int]:
        """The divisors of the loss by name, known without running the model.

        Every batch has the same names. A count of 0 says that the batch holds nothing to divide by it; an
        empty share of a batch has no other counts. An objective is called for it only if its attribute
        ``meets`` says that it exchanges something with the other processes.
        """

    def __call__(self, model: nn.Module, batch: Any) -> Loss: ...


def takes_part(objective: Objective, batch: Any) -> bool:
    """Whether the objective is called for this process's share of a batch."""
    return getattr(objective, "meets", False) or any(objective.counts(batch).values())


class NonFiniteError(ValueError):
    """A loss or gradient that is not finite: training stops before anything that holds it can be saved."""


@dataclass
class FitOptions:
    """How the loop steps; see ``exp.policy``."""

    accumulate: int = 1
    warmup: int = 0
    schedule: Schedule = "constant"
    num_steps: int | None = None  # optimizer steps of the whole training, which a schedule needs
    clip_norm: float | None = None
    bf16: bool = False
    save_every: int = 0  # optimizer steps between hand-backs inside an epoch, 0: none
    check_every: int = 50  # steps between checks for non-finite values on a device that runs ahead (CUDA)

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise ValueError(f"`acc_batch` must be at least 1, got {self.accumulate}")
        if self.schedule != "constant" and self.num_steps is None:
            raise ValueError(f"`num_steps` must be given with schedule '{self.schedule}'")


@dataclass
class _Watch:
    """Losses and gradient norms not yet checked. A check waits for the device."""

    every: int
    processes: Processes
    steps: list[tuple[Sequence[Batch], Tensor, Tensor]] = field(default_factory=list)

    def add(self, batches: Sequence[Batch], loss: Tensor, norm: Tensor) -> None:
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

    def _describe(self, what: str, values: Tensor, batches: Sequence[Batch]) -> str:
        # Losses and gradients are sums over all processes, so that all of them come here together.
        parts = self.processes.collect([int(group) for batch in batches for group in batch.group.tolist()])
        return _message(what, values, batches, sorted({group for part in parts for group in part}))


def _message(what: str, values: Tensor, batches: Sequence[Batch], groups: Sequence[int]) -> str:
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
    ahead: Callable[[Any], None] = lambda batch: None,
    stop: Callable[[], bool] = lambda: False,
    advanced: Callable[[int, int], None] = lambda done, total: None,
    reporting: Callable[[], bool] = lambda: False,
    processes: Processes = ALONE,
) -> Iterator[Progress]:
    """Train from where ``progress`` stands; each ``next`` goes on.

    Yields ``progress`` (the same object, updated) at the end of every epoch (``epoch_done``), after every
    ``save_every`` optimizer steps, and after every step while ``stop()`` is true. Each term of the loss is
    divided by its count over the whole step, however many batches, and shares of processes, the step is cut
    into; the last step of an epoch may have fewer batches.

    Args:
        ahead: called with the batch that follows, before the model runs on the one at hand.
        stop: with several processes, it must answer the same in all of them.
        advanced: called after each step with the batches done and the batches of the epoch.
        reporting: asked before that; where it is true the loss so far is put into ``progress``, which waits
            for the device.

    Raises:
        NonFiniteError: naming the batch. On the CPU the weights are those before its step; a device that runs
            ahead is asked every ``check_every`` steps and before control is handed back.
    """
    device = module_device(model)
    step = _Step(model, objective, optimizer, options, stream.seed, device, ahead, processes)
    for epoch in itertools.count(progress.epoch + int(progress.epoch_done)):
        batches = stream.epoch(epoch)
        if progress.epoch_done:
            progress.begin(epoch)
        progress.next_batch = max(progress.next_batch, batches.start)
        losses = EpochLoss(progress, device)
        model.train()
        left = range(progress.next_batch, batches.stop)
        for reached, group, following in _groups(stream, left, options.accumulate):
            losses.add(step(group, following, progress.step))
            progress.next_batch, progress.step = reached, progress.step + 1
            if reporting():
                losses.note()
            advanced(progress.next_batch - batches.start, len(batches))
            save = options.save_every > 0 and progress.step % options.save_every == 0
            if (save or stop()) and progress.next_batch < batches.stop:
                step.watch.check()
                losses.note()
                average_buffers(model, processes)
                yield progress
                model.train()
        step.watch.check()
        losses.note()
        progress.epoch_done = True
        average_buffers(model, processes)
        yield progress


def _groups(stream: Stream, numbers: range, size: int) -> Iterator[tuple[int, list[Batch], list[Batch]]]:
    """The number after each group of batches, the group, and the next group, which is made by then."""

    def made(start: int) -> list[Batch]:
        return [stream.batch(number) for number in range(start, min(start + size, numbers.stop))]

    following = made(numbers.start)
    for start in range(numbers.start, numbers.stop, size):
        reached = min(start + size, numbers.stop)
        group, following = following, made(reached)
        yield reached, group, following


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
        ahead: Callable[[Any], None],
        processes: Processes,
    ) -> None:
        self.model, self.objective, self.optimizer, self.options = model, objective, optimizer, options
        self.seed, self.device, self.ahead, self.processes = seed, device, ahead, processes
        self.parameters = list(trainable(model).values())
        self.watch = _Watch(1 if device.type == "cpu" else options.check_every, processes)
        self.terms, self.finish = TermSums(processes), finishing(model)

    def __call__(self, group: Sequence[Batch], following: Sequence[Batch], number: int) -> StepLoss:
        counts, firsts = self._counts(group)
        options = self.options
        set_learning_rate(self.optimizer, number, options.warmup, options.schedule, options.num_steps)
        self.optimizer.zero_grad(set_to_none=True)
        totals = {name: torch.zeros((), device=self.device) for name in counts}
        terms: dict[str, Tensor] = {}
        # Of a short batch a process may have no share; it then takes part in the sums alone.
        own = [each for each in group if self._holds_some(each)]
        later = [each for each in following if self._holds_some(each)]
        afterwards = iter([*own[1:], *later[:1], None])
        for batch, first in zip(group, firsts, strict=True):
            if not self._holds_some(batch):
                self._take_part(counts)
                continue
            after = next(afterwards)
            if after is not None:
                self.ahead(after)
            # For what draws from torch's own generator, such as dropout in bricks from outside.
            _seed(torch_seed(self.seed, batch.number) + self.processes.rank, self.device)
            with (
                drawing(self.seed, number, first),
                torch.autocast(self.device.type, torch.bfloat16, enabled=options.bf16),
            ):
                loss = self.objective(self.model, batch.to(self.device))
            given = loss.totals()
            self._take_part(counts, divided(given, counts))
            for name, total in given.items():
                totals[name] = totals[name] + total.detach()
            self.terms.add(terms, loss)
        totals = reduce_sums(totals, self.processes)
        of_terms = self.terms.reduced(terms, self.device)
        reduce_gradients(self.parameters, self.processes)
        norm = torch.nn.utils.get_total_norm(gradients(self.parameters))
        self.watch.add(group, torch.stack([*totals.values()]).sum(), norm)
        if options.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, options.clip_norm, norm)
        self.optimizer.step()
        return StepLoss(totals, counts, of_terms)

    def _take_part(self, counts: Mapping[str, int], share: Tensor | None = None) -> None:
        """The backward pass of this process's share, and of what it ran along with the others."""
        along = self.finish()
        if along is not None and any(counts.values()):
            share = along if share is None else share + along
        if share is not None:
            share.backward()

    def _counts(self, group: Sequence[Batch]) -> tuple[dict[str, int], list[int]]:
        """Over the batches of the step and all processes: the divisors, and where the examples begin.

        Returns: the divisors by name, and for each batch the place, among all examples of the step, of the
            first that is this process's. Each has one stretch of a batch.
        """
        own = [self.objective.counts(batch) for batch in group]
        totals = {name: sum(each[name] for each in own) for name in own[0]}
        table = torch.zeros(self.processes.world, len(group) + len(totals), dtype=torch.int64)
        table[self.processes.rank] = torch.tensor([*(len(batch.group) for batch in group), *totals.values()])
        self.processes.add(table)
        whole, before = table.sum(0).tolist(), table[: self.processes.rank].sum(0).tolist()
        firsts = [sum(whole[:place]) + before[place] for place in range(len(group))]
        return dict(zip(totals, whole[len(group) :], strict=True)), firsts

    def _holds_some(self, batch: Batch) -> bool:
        return takes_part(self.objective, batch)


def _seed(seed: int, device: torch.device) -> None:
    """Seed torch's own generators; on the CPU its one: for CUDA, torch keeps the stack as text each time."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
