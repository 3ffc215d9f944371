"""What epochs and results are judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from legorec.engine.task import Task
from legorec.metrics import parse_sum
from legorec.recipes.outputs.measure import check_measurable
from legorec.settings.modes import MODES

if TYPE_CHECKING:
    from legorec.settings import Settings


def check_judged(task: Task, settings: Settings) -> None:
    """Refuse a task whose epochs or result could not be measured as the settings say.

    Raises:
        ValueError: a metric cannot be computed on a split, or there is nothing to rank.
    """
    if not task.ranks:
        if not settings.exp.policy.simple_dev:
            raise ValueError(
                f"a model of the family '{settings.model.family}' has nothing to rank: its epochs are judged "
                "by their loss on what is held out; give `exp.policy.simple_dev: true` (--simple_dev true)"
            )
        return
    for split in MODES[settings.exp.mode].measures:
        metrics = dev_metrics(settings) if split == "dev" else settings.exp.metrics
        check_measurable(task.scorer(split), metrics)


def dev_metrics(settings: Settings) -> list[str]:
    """Metrics measured after every epoch: ``exp.metrics``, and those that choose the best epoch."""
    judges = [each.name for each in parse_sum(settings.exp.evaluation.metric)]
    return list(dict.fromkeys([*settings.exp.metrics, *judges]))


def worth(report: Mapping[str, float], settings: Settings) -> float:
    """What an epoch's measures on dev are worth: higher is better."""
    judges = parse_sum(settings.exp.evaluation.metric)
    total = sum(report[each.name] for each in judges)
    return total if judges[0].higher_is_better else -total
