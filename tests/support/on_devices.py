"""The contract of a device: what a task does on the stand-in is what it does on the CPU, and nothing waits.

A task may be any: two towers, prompts, losses and families to come are held by the same functions, from what
makes one on a device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from legorec.engine.fit import FitOptions, fit
from legorec.engine.rank import rank
from legorec.engine.task import Task
from legorec.engine.training import Training
from tests.support.stand_in import StandIn
from tests.support.stand_in_module import ENTERED

CPU = torch.device("cpu")
STEPS, SAVED = 3, 2  # of an epoch; a checkpoint is written after the second
EPS = 1e-2  # of Adam: the usual one makes steps of gradients that are rounding alone
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


@dataclass
class Made:
    """A task on a device, with what else is asked of its model: results by name."""

    task: Task
    more: Callable[[], dict[str, np.ndarray]] = dict


@dataclass
class Outcome:
    """What a task did."""

    loss: float = 0.0
    weights: dict[str, Tensor] = field(default_factory=dict)
    results: dict[str, np.ndarray] = field(default_factory=dict)
    waits_of_steps: Counter[str] = field(default_factory=Counter)
    waits_of_ranking: Counter[str] = field(default_factory=Counter)
    copies_of_a_step: int = 0


Make = Callable[[torch.device], Made]


def hold(make: Make, folder: Path) -> Outcome:
    """Train, save, resume, rank and recommend on both; then in bf16. The outcome on the stand-in.

    Raises:
        AssertionError: something differs, or waits.
        Mixture: an operation mixes the device and the host.
    """
    there = outcome(make, CPU, folder / "cpu")
    with StandIn() as device:
        here = outcome(make, device.device, folder / "device")
        half = trained(make(device.device), FitOptions(bf16=True))
    same(here, there)
    assert not here.waits_of_steps, f"a step waits: {dict(here.waits_of_steps)}"
    assert not half.waits_of_steps, f"a step in bf16 waits: {dict(half.waits_of_steps)}"
    assert sum(here.waits_of_ranking.values()) <= 1, f"ranking waits: {dict(here.waits_of_ranking)}"
    assert abs(half.loss - there.loss) <= 0.05 * abs(there.loss), f"{half.loss} in bf16, {there.loss} in fp32"
    return here


def same(here: Outcome, there: Outcome) -> None:
    """The numbers of one device are those of the other."""
    assert np.isfinite(here.loss) and abs(here.loss - there.loss) <= 1e-4 * abs(there.loss)
    for name, weight in there.weights.items():
        np.testing.assert_allclose(here.weights[name], weight, **CLOSE, err_msg=name)
    assert here.results.keys() == there.results.keys()
    for name, values in there.results.items():
        np.testing.assert_allclose(here.results[name], values, **CLOSE, err_msg=name)


def outcome(make: Make, device: torch.device, folder: Path) -> Outcome:
    """Train with a checkpoint on the way, go on from it in a fresh task, rank and recommend."""
    made = make(device)
    done = trained(made, FitOptions(save_every=SAVED), folder)
    resumed = trained(make(device), FitOptions(), resume=folder)
    for name, weight in done.weights.items():
        assert torch.equal(resumed.weights[name], weight), f"{name} differs after resuming"
    assert resumed.loss == done.loss
    with watched(done.waits_of_ranking):
        done.results = {"scores": rank(made.task.scorer("test")).score}
    done.results |= made.more()
    return done


def trained(made: Made, options: FitOptions, save: Path | None = None, resume: Path | None = None) -> Outcome:
    """An epoch without dropout; what waits after the first step, and before the epoch's end, is counted."""
    training, done = Training(made.task, options, lr=1e-2), Outcome()
    without_dropout(training.model)
    for group in training.optimizer.param_groups:
        group["eps"] = EPS
    if resume is not None:
        assert training.restore(resume)
    known: list[tuple[Counter[str], int]] = []  # before the step

    def advanced(count: int, total: int) -> None:
        waits, copies = so_far()
        if known:
            done.waits_of_steps.update(waits - known[-1][0])
            done.copies_of_a_step = copies - known[-1][1]
        known[:] = [(waits, copies)]

    progress, learning = training.state.progress, training.learning
    steps = fit(
        training.model,
        learning.stream,
        learning.objective,
        training.optimizer,
        options,
        progress,
        ahead=learning.ahead,
        advanced=advanced,
    )
    for _ in steps:
        if progress.epoch_done:
            break
        assert save is not None
        training.save(save)
        known[:] = [so_far()]  # saving waits
    done.loss = progress.loss
    done.weights = {name: value.detach().cpu().clone() for name, value in training.model.named_parameters()}
    return done


def so_far() -> tuple[Counter[str], int]:
    """What has waited on the device that is entered, and how often something was copied to it."""
    return (Counter(ENTERED[-1].waits), sum(ENTERED[-1].copies.values())) if ENTERED else (Counter(), 0)


@contextmanager
def watched(waits: Counter[str]) -> Iterator[None]:
    """Add what waits inside."""
    before, _ = so_far()
    yield
    waits.update(so_far()[0] - before)


def without_dropout(model: nn.Module) -> None:
    """Set every share of values that is dropped to zero: devices draw other numbers."""
    set_dropout(model, 0.0)


def set_dropout(model: nn.Module, share: float) -> None:
    for module in model.modules():
        for name in ("rate", "mask_rate", "dropout", "attention_dropout"):
            if isinstance(vars(module).get(name), float):
                setattr(module, name, share)
        if isinstance(module, nn.Dropout):
            module.p = share


def gradients(task: Task, device: torch.device, page_size: int) -> dict[str, Tensor]:
    """Of the first batch, with dropout, items in pages."""
    model, learning = task.model.train(), task.learning()
    model.item_page_size = page_size
    batch = learning.stream.batch(0).to(device)
    torch.manual_seed(3)
    loss = learning.objective(model, batch)
    sum(loss.totals().values(), start=torch.zeros((), device=device)).backward()
    found: dict[str, Any] = {name: value.grad for name, value in model.named_parameters()}
    return {name: value.cpu().clone() for name, value in found.items() if value is not None}
