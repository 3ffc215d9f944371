"""Sums of the loss, of one step and of the epoch so far, over all processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from legorec.batch import Loss, Term
from legorec.engine.reduce import reduce_sums
from legorec.processes import Processes


@dataclass
class Progress:
    """Where training is. A batch is a function of its number, so these numbers are enough to go on from."""

    epoch: int = 0
    next_batch: int = 0
    step: int = 0  # optimizer steps done
    epoch_done: bool = False
    terms_lack_a_part: bool = False  # of the epoch so far
    # Of the epoch so far, over all processes:
    sums: dict[str, float] = field(default_factory=dict)  # weighted losses, by divisor
    counts: dict[str, int] = field(default_factory=dict)  # the divisors
    # Of each term, unweighted, where the loss has several:
    term_sums: dict[str, float] = field(default_factory=dict)
    term_counts: dict[str, int] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """Mean loss of the epoch so far."""
        return sum(total / max(1, self.counts[per]) for per, total in self.sums.items())

    @property
    def terms(self) -> dict[str, float]:
        """The mean of each term of the loss in the epoch so far, where it has several.

        Nothing in an epoch that was begun by a version without terms.
        """
        if self.terms_lack_a_part:
            return {}
        return {name: total / max(1, self.term_counts[name]) for name, total in self.term_sums.items()}

    def begin(self, epoch: int) -> None:
        """Start an epoch."""
        self.epoch, self.epoch_done, self.terms_lack_a_part = epoch, False, False
        for kept in (self.sums, self.counts, self.term_sums, self.term_counts):
            kept.clear()

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Progress:
        """Saved progress; up to version 0.1 a loss had one sum and one count."""
        state = dict(state)
        if "loss_sum" in state:
            state["sums"] = {"examples": state.pop("loss_sum")}
            state["counts"] = {"examples": state.pop("loss_count")}
            state["terms_lack_a_part"] = not state["epoch_done"]
        return cls(**state)


@dataclass
class StepLoss:
    """The sums of one step, still on the device, and their divisors, over all processes."""

    totals: dict[str, Tensor]
    counts: dict[str, int]
    terms: dict[str, Term]


class EpochLoss:
    """The sums of an epoch, added one by one on the device, in place.

    A sum does not depend on where the epoch was cut, and a small tensor kept from every step would fragment
    the heap (a third more memory after 60 steps).
    """

    def __init__(self, progress: Progress, device: torch.device) -> None:
        self.progress = progress
        self.device = device
        self._sums = {name: self._start(value) for name, value in progress.sums.items()}
        self._terms = {name: self._start(value) for name, value in progress.term_sums.items()}

    def _start(self, value: float) -> Tensor:
        widest = torch.float32 if self.device.type == "mps" else torch.float64
        return torch.full((), value, dtype=widest, device=self.device)  # no copy, which would be waited for

    def add(self, step: StepLoss) -> None:
        for name, total in step.totals.items():
            if name not in self._sums:
                self._sums[name] = self._start(0.0)
            self._sums[name].add_(total)
        for name, count in step.counts.items():
            self.progress.counts[name] = self.progress.counts.get(name, 0) + count
        for name, term in step.terms.items():
            count = self.progress.term_counts.get(name, 0) + step.counts[term.per]
            self.progress.term_counts[name] = count
            if name not in self._terms:
                self._terms[name] = self._start(0.0)
            self._terms[name].add_(term.total)

    def note(self) -> None:
        """Write the sums into the progress, which waits for the device."""
        self.progress.sums.update({name: float(value) for name, value in self._sums.items()})
        self.progress.term_sums.update({name: float(value) for name, value in self._terms.items()})


def divided(totals: Mapping[str, Tensor], counts: Mapping[str, int]) -> Tensor | None:
    """The part of a step's loss that one batch adds; None where the step has nothing to divide by."""
    parts = [total / counts[name] for name, total in totals.items() if counts[name]]
    return sum(parts[1:], start=parts[0]) if parts else None


class TermSums:
    """The sums of each term over the batches of a step, where the loss has several terms.

    A process that has no share of a batch learns the names of the terms from the others.
    """

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self._own: dict[str, str] | None = None  # the terms that this process has seen, with their divisors
        self._agreed: dict[str, str] | None = None  # those that all processes add up

    def add(self, sums: dict[str, Tensor], loss: Loss) -> None:
        """Add the terms of one batch to those of its step."""
        several = loss.terms if len(loss.terms) > 1 else {}
        self._own = (self._own or {}) | {name: term.per for name, term in several.items()}
        for name, term in several.items():
            total = term.total.detach()
            sums[name] = sums[name] + total if name in sums else total

    def reduced(self, sums: dict[str, Tensor], device: torch.device) -> dict[str, Term]:
        """The terms of a step over all processes, which meet here."""
        if self._agreed is None or self.processes.world == 1:
            seen = [part for part in self.processes.collect(self._own) if part is not None]
            self._agreed = {name: per for part in seen for name, per in part.items()} if seen else None
        if not self._agreed:
            return {}
        whole = {name: sums.get(name, torch.zeros((), device=device)) for name in self._agreed}
        totals = reduce_sums(whole, self.processes)
        return {name: Term(totals[name], per) for name, per in self._agreed.items()}
