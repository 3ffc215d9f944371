"""A ranking in figures: each metric, and what it was averaged over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from legorec.item_lists import ItemLists
from legorec.metrics.listed import LISTED, defined_lists, list_figure, list_values
from legorec.metrics.names import Metric, parse_metric, spelling
from legorec.metrics.outside import group_values, pooled_value
from legorec.metrics.pooled import POOLED
from legorec.metrics.ranked import RANKED
from legorec.sequences import listed
from legorec.tie_blocks import TieBlocks, blocks_of, checked

if TYPE_CHECKING:
    from legorec.batch import Ranking

FULL = "among all items"
MIND_METRICS = ("gauc", "mrr", "ndcg@5", "ndcg@10")
Values = tuple[np.ndarray, np.ndarray]  # groups, ascending, and the value of each


@dataclass(frozen=True)
class MetricReport(Mapping[str, float]):
    """Values by metric name, and the size of the ranking they were computed from."""

    values_by_name: dict[str, float]
    skipped: dict[str, int]  # by metric name: groups for which it is not defined; 0 where rows are pooled
    group_by: str
    num_rows: int
    num_groups: int
    num_clicks: int
    ties: float = 0.0  # share of rows whose score another row of their group has
    among: str = ""  # what the candidates are, where they are not those of the impressions

    def __getitem__(self, name: str) -> float:
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)

    def __str__(self) -> str:
        return "\n".join(f"{name:<14} {value:.6f}  {self.basis(name)}" for name, value in self.items())

    def basis(self, name: str) -> str:
        """What a figure was averaged or computed over, in words."""
        metric, skipped = parse_metric(name), self.skipped[name]
        counted = f"{self.num_groups - skipped} groups, {skipped} skipped"
        if metric.is_pooled:
            return f"over the lists of {counted}" if metric.of_lists else f"over all {self.num_rows} rows"
        among = f" {self.among}" if self.among else ""
        return f"mean by {self.group_by}{among}: {counted}"


def evaluate(ranking: Ranking, names: Iterable[str] = MIND_METRICS) -> MetricReport:
    """Compute the requested metrics; the rows are sorted once for all ranked metrics.

    Raises ValueError for an empty ranking, NaN scores, labels other than 0 and 1, no group to average, or
    names that are no list.
    """
    names = list(names) if isinstance(names, Mapping) else listed(names, "names", "metrics")
    metrics = [parse_metric(name) for name in names]
    _, _, score = checked(ranking)
    blocks = blocks_of(ranking)
    values, skipped = {}, {}
    for metric in metrics:
        values[metric.name], skipped[metric.name] = _figure(metric, ranking, blocks)
    return MetricReport(
        values_by_name=values,
        skipped=skipped,
        group_by=ranking.group_by,
        num_rows=int(blocks.rows.sum()),
        num_groups=len(blocks.group),
        num_clicks=int(blocks.clicks.sum()),
        ties=blocks.tied / len(score),
        among="" if ranking.others is None else FULL,
    )


def per_group(ranking: Ranking, name: str) -> Values:
    """The groups for which a metric is defined, in ascending order, and its value for each.

    Raises:
        ValueError: it is pooled, or cannot be computed.
    """
    metric = parse_metric(name)
    if metric.is_pooled:
        ranked = ", ".join(map(spelling, RANKED))
        over = "lists" if metric.of_lists else "rows"
        raise ValueError(
            f"`{metric.name}` is pooled over all {over} and has no values per group; {ranked} have"
        )
    return _of_lists(metric, ranking) if metric.of_lists else _ranked(blocks_of(ranking), metric, ranking)


def has_lists_for(ranking: Ranking, metric: Metric) -> bool:
    """Whether a list metric is defined for the lists that a ranking has.

    Raises:
        ValueError: it has none at all, or they come without what the metric needs.
    """
    facts = _lists_of(ranking, metric).facts
    return not np.isnan(list_figure(metric.kind, _of_lists(metric, ranking)[1], facts))


def _figure(metric: Metric, ranking: Ranking, blocks: TieBlocks) -> tuple[float, int]:
    """The value, and how many groups were skipped."""
    if metric.of_lists:
        lists = _lists_of(ranking, metric)
        values = _of_lists(metric, ranking)[1]
        figure = list_figure(metric.kind, values, lists.facts)
        if np.isnan(figure):
            raise ValueError(
                f"`{metric.name}` is defined for none of {len(lists.group)} lists; {_lacking(metric)}"
            )
        return figure, len(lists.group) - len(values)
    if not metric.is_pooled:
        groups, values = _ranked(blocks, metric, ranking)
        return float(values.mean()), len(blocks.group) - len(groups)
    if ranking.others is not None:
        raise ValueError(
            f"`{metric.name}` is pooled over all rows, and of a whole corpus only the clicks are kept; "
            "`gauc` and the ranked metrics can be measured"
        )
    if metric.outside is not None:
        return pooled_value(metric.outside, ranking, int(metric.cut)), 0
    _, click, score = checked(ranking)
    return POOLED[metric.kind](click, score, metric.cut), 0


def _ranked(blocks: TieBlocks, metric: Metric, ranking: Ranking) -> Values:
    defined = blocks.clicks > 0 if metric.needs != "rows" else np.ones(len(blocks.group), dtype=bool)
    if metric.needs == "clicks and others":
        defined &= blocks.clicks < blocks.rows
    if not defined.any():
        needed = "a click" if metric.needs == "clicks" else "a click and a non-click"
        raise ValueError(
            f"`{metric.name}` needs {needed} in at least one {ranking.group_by}, and none of {len(defined)} "
            "has that"
        )
    if metric.outside is not None:
        values = group_values(metric.outside, ranking, blocks, defined, int(metric.cut))
    else:
        values = RANKED[metric.kind](blocks, int(metric.cut))
    return blocks.group[defined], values[defined]


def _of_lists(metric: Metric, ranking: Ranking) -> Values:
    lists = _lists_of(ranking, metric)
    values = list_values(metric.kind, lists, int(metric.cut))
    kept = np.flatnonzero(defined_lists(values))
    kept = kept[np.argsort(lists.group[kept], kind="stable")]
    return lists.group[kept], values[kept]


def _lacking(metric: Metric) -> str:
    if LISTED[metric.kind].least > 1:
        return "none of them has two items"
    return "no user has a history with which they could be compared"


def _lists_of(ranking: Ranking, metric: Metric) -> ItemLists:
    lists, needs = ranking.lists, LISTED[metric.kind].needs
    if lists is None:
        raise ValueError(
            f"`{metric.name}` is about lists of the best of all items, which are made with --candidates full "
            "(`exp.evaluation.candidates`) alone"
        )
    if needs and getattr(lists.facts, needs) is None:
        raise ValueError(f"`{metric.name}` needs {needs} of the items, and the lists come without them")
    return lists
