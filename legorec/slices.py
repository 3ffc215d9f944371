"""Metrics of parts of a ranking, such as rare and frequent items, or short and long histories.

A ``Slicing`` is one way to cut the rows of a split. It is made once (``legorec.data.slicing``) and cuts every
ranking of that split, the model's and those of the baselines, in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from legorec.metrics import MetricReport, evaluate, has_lists_for, parse_metric, per_group

if TYPE_CHECKING:
    from legorec.batch import Ranking
    from legorec.metrics import Metric

# By the name of a slicing and of its part.
SliceReports = Mapping[str, Mapping[str, MetricReport]]


@dataclass(frozen=True)
class Slicing:
    """The parts of a split by name, each the places (r,) of its rows among those of the split, ascending.

    Parts may share rows: the candidates that nobody clicked stand beside the clicks of each part.
    """

    name: str
    parts: Mapping[str, np.ndarray]

    def rankings(self, ranking: Ranking) -> Iterable[tuple[str, Ranking]]:
        """Each part by name, with the rows of a ranking of the whole split; a part may have none."""
        for part, rows in self.parts.items():
            yield part, ranking.of(rows)


def evaluate_slices(ranking: Ranking, slicings: Iterable[Slicing], names: Iterable[str]) -> SliceReports:
    """The metrics of every part of every slicing.

    The report of a part lacks the metrics that are not defined there, as ``gauc`` where no group has a click
    and a non-click; ``skipped`` counts all its groups for these. Raises ValueError as ``evaluate`` does for
    NaN scores, labels other than 0 and 1 and unknown names.
    """
    metrics = [parse_metric(name) for name in names]
    return {
        slicing.name: {name: _report(part, metrics) for name, part in slicing.rankings(ranking)}
        for slicing in slicings
    }


def per_group_of_slices(
    ranking: Ranking, slicings: Iterable[Slicing], name: str
) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """By slicing and part: the groups for which a ranked metric is defined, ascending, and its values.

    Parts where it is defined for no group are left out.
    """
    metric, found = parse_metric(name), {}
    for slicing in slicings:
        for part, own in slicing.rankings(ranking):
            if _is_defined(metric, own):
                found[slicing.name, part] = per_group(own, name)
    return found


def _report(part: Ranking, metrics: list[Metric]) -> MetricReport:
    names = [metric.name for metric in metrics]
    if not len(part.score):
        return MetricReport({}, dict.fromkeys(names, 0), part.group_by, 0, 0, 0)
    # What is asked here is cheaper than a metric: with no metric, `evaluate` checks and counts.
    report = evaluate(part, [metric.name for metric in metrics if _is_defined(metric, part)])
    skipped = {name: report.skipped.get(name, report.num_groups) for name in names}
    return replace(report, skipped=skipped)


def _is_defined(metric: Metric, part: Ranking) -> bool:
    click = part.label == 1
    if metric.of_lists:
        return bool(click.any()) and has_lists_for(part, metric)
    if metric.needs == "rows" or not click.any():
        return metric.needs == "rows" and len(click) > 0
    if metric.needs == "clicks":
        return True
    if part.others is not None:
        return bool(part.others.every.any())
    if metric.is_pooled:
        return not click.all()
    return bool(np.isin(part.group[click], part.group[~click]).any())
