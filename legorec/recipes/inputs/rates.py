"""The learning rates of a training, where a model suggests some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from legorec.engine.fit import FitOptions
from legorec.engine.optim import tuned
from legorec.engine.task import Task
from legorec.engine.training import Training
from legorec.processes import Processes
from legorec.recipes.inputs.starting import begin_with_weights
from legorec.settings.resolved import run_path

if TYPE_CHECKING:
    from legorec.settings import Settings


def item_rate(settings: Settings, model: nn.Module) -> float | None:
    """``exp.policy.item_lr``, or None where it is the model's suggestion and nothing pretrained is trained.

    One that was named by hand is handed on, and refused by the optimizer; a suggestion is for all that can be
    made of a model file, ``--frozen 1`` too.
    """
    rate, suggested = settings.exp.policy.item_lr, getattr(settings.model, "suggested", None)
    as_suggested = suggested is not None and rate == suggested.item_lr
    return None if as_suggested and not tuned(model) else rate


def training_of(settings: Settings, task: Task, options: FitOptions, processes: Processes) -> Training:
    """A task under training at the rates of ``exp.policy``, with the weights that ``exp.init_from`` names.

    Raises:
        ValueError: it cannot be trained, or these weights do not fit.
    """
    policy = settings.exp.policy
    training = Training(
        task,
        options,
        lr=policy.lr,
        item_lr=item_rate(settings, task.model),
        weight_decay=policy.weight_decay,
        processes=processes,
    )
    begin_with_weights(training, settings, run_path(settings))
    return training


def begun_said(training: Training) -> list[str]:
    """Lines for the log: the weights that training begins with, where they are those of a run."""
    begun = training.begun
    if begun is None:
        return []
    return [f"training begins with the weights of {begun.checkpoint} ({begun.digest[:12]})", *begun.said]


def rates_said(settings: Settings, training: Training) -> str:
    """A line for the log: the rates, what they do, and whether the model suggested them."""
    policy, options = settings.exp.policy, training.options
    rates = [f"lr {policy.lr:g}"]
    if training.item_lr is not None:
        rates.append(f"item_lr {training.item_lr:g}")
    falls = options.schedule != "constant"
    rates.append(f"{options.schedule} {'to 0 ' if falls else ''}over {options.num_steps or 0:,} steps")
    if options.warmup:
        rates.append(f"the first {options.warmup:,} of them warm-up")
    suggested = getattr(settings.model, "suggested", None)
    if suggested is not None and suggested.lr == policy.lr:
        rates.append("as the model suggests")
    if policy.item_lr is not None and training.item_lr is None:
        rates.append("without its item_lr, as nothing pretrained is trained")
    return ", ".join(rates)
