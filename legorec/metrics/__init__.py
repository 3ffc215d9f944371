"""Metrics of a ``Ranking``, vectorised over all groups at once.

Ranked metrics are computed per group, and the plain mean is taken over groups. Rows of a group with the same
score form a tie block, and a ranked metric takes its expected value under random tie-breaking, so that
neither the order of rows nor the dtype of scores can flatter a model. A group for which a metric is not
defined (no click; for ``gauc`` also no non-click) is skipped and counted. ``auc``, ``logloss`` and ``f1@t``
are pooled: they are computed over all rows at once. List metrics (``metrics.listed``) are about the items of
the best k among all items, and metrics of one's own (``metrics.outside``) are named by dotted path.
"""

from legorec.metrics.names import Metric, list_needs, longest_list, parse_metric, parse_sum
from legorec.metrics.report import FULL, MIND_METRICS, MetricReport, evaluate, has_lists_for, per_group

__all__ = [
    "FULL",
    "MIND_METRICS",
    "Metric",
    "MetricReport",
    "evaluate",
    "has_lists_for",
    "list_needs",
    "longest_list",
    "parse_metric",
    "parse_sum",
    "per_group",
]
