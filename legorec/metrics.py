"""Metrics of a ``Ranking``, vectorised over all groups at once.

Ranked metrics are computed per group, and the plain mean is taken over groups. Rows of a group with the same
score form a tie block, and a ranked metric takes its expected value under random tie-breaking, so that
neither the order of rows nor the dtype of scores can flatter a model. A group for which a metric is not
defined (no click; for ``gauc`` also no non-click) is skipped and counted. ``auc``, ``logloss`` and ``f1@t``
are pooled: they are computed over all rows at once.

In formulas a tie block has ``m`` rows, ``p`` of them clicked, and ``s`` rows of its group above it; the group
has ``P`` clicks; ``H(r)`` is the sum of 1/i up to rank r.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from legorec.sequences import listed
from legorec.tie_blocks import TieBlocks, blocks_of, checked

if TYPE_CHECKING:
    from legorec.batch import Ranking

FULL = "among all items"
MIND_METRICS = ("gauc", "mrr", "ndcg@5", "ndcg@10")


@dataclass(frozen=True)
class Metric:
    """A requested metric: ``ndcg@10`` is the kind ``ndcg`` with the cut 10."""

    name: str
    kind: str
    cut: float = 0  # k of a ranked metric, the threshold of f1

    @property
    def is_pooled(self) -> bool:
        """Whether it is computed over all rows at once and has no values per group."""
        return self.kind in _POOLED

    @property
    def higher_is_better(self) -> bool:
        return self.kind != "logloss"

    @property
    def needs(self) -> Literal["rows", "clicks", "clicks and others"]:
        """What must be there for it to be defined: in some group, or among all rows if it is pooled."""
        if self.kind in ("auc", "gauc"):
            return "clicks and others"
        return "rows" if self.kind == "logloss" else "clicks"


@dataclass(frozen=True)
class MetricReport(Mapping[str, float]):
    """Values by metric name, and the size of the ranking they were computed from."""

    values_by_name: dict[str, float]
    skipped: dict[str, int]  # by metric name: groups for which it is not defined; 0 for a pooled metric
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
        if parse_metric(name).is_pooled:
            return f"over all {self.num_rows} rows"
        skipped = self.skipped[name]
        among = f" {self.among}" if self.among else ""
        return f"mean by {self.group_by}{among}: {self.num_groups - skipped} groups, {skipped} skipped"


def parse_metric(name: str) -> Metric:
    """The metric with a name such as ``gauc``, ``ndcg@10`` or ``f1@0.5``; case does not matter."""
    if not isinstance(name, str):
        raise ValueError(f"a metric is named by a text, as in 'gauc', got {name!r}")
    kind, at, cut = name.lower().partition("@")
    kinds = [*_RANKED, *_POOLED]
    if kind not in kinds:
        near = (
            [_NAMED_ELSEWHERE[kind]]
            if kind in _NAMED_ELSEWHERE
            else difflib.get_close_matches(kind, kinds, n=1)
        )
        hint = f"the nearest is '{_spelling(near[0], cut)}'; " if near else ""
        raise ValueError(f"unknown metric {name!r}; {hint}known are {', '.join(map(_spelling, kinds))}")
    if kind == "f1":
        if not re.fullmatch(r"0?\.[0-9]{1,9}", cut) or float(cut) == 0:
            raise ValueError(f"`f1` takes a threshold between 0 and 1, as in 'f1@0.5', got {name!r}")
        return Metric(f"f1@0.{cut.partition('.')[2].rstrip('0')}", kind, float(cut))
    if kind in _CUT_AT_K or (kind in _MAY_BE_CUT and at):
        if not re.fullmatch(r"[1-9][0-9]*", cut):
            raise ValueError(f"`{kind}` takes a whole number k >= 1, as in '{kind}@10', got {name!r}")
        return Metric(f"{kind}@{cut}", kind, int(cut))
    if at:
        raise ValueError(f"`{kind}` takes no number, got {name!r}; write {kind!r}")
    return Metric(kind, kind)


def _spelling(kind: str, cut: str = "") -> str:
    return f"{kind}@{cut or 'k'}" if kind in _CUT_AT_K else f"f1@{cut or 't'}" if kind == "f1" else kind


def evaluate(ranking: Ranking, names: Iterable[str] = MIND_METRICS) -> MetricReport:
    """Compute the requested metrics; the rows are sorted once for all ranked metrics.

    Raises ValueError for an empty ranking, NaN scores, labels other than 0 and 1, no group to average, or
    names that are no list.
    """
    names = list(names) if isinstance(names, Mapping) else listed(names, "names", "metrics")
    metrics = [parse_metric(name) for name in names]
    _, click, score = checked(ranking)
    blocks = blocks_of(ranking)
    values, skipped = {}, {}
    for metric in metrics:
        if metric.is_pooled:
            if ranking.others is not None:
                raise ValueError(
                    f"`{metric.name}` is pooled over all rows, and of a whole corpus only the clicks are "
                    "kept; `gauc` and the ranked metrics can be measured"
                )
            values[metric.name], skipped[metric.name] = _POOLED[metric.kind](click, score, metric.cut), 0
            continue
        groups, per_group_values = _ranked(blocks, metric, ranking.group_by)
        values[metric.name] = float(per_group_values.mean())
        skipped[metric.name] = len(blocks.group) - len(groups)
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


def per_group(ranking: Ranking, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The groups for which a ranked metric is defined, in ascending order, and its value for each."""
    metric = parse_metric(name)
    if metric.is_pooled:
        ranked = ", ".join(map(_spelling, _RANKED))
        raise ValueError(
            f"`{metric.name}` is pooled over all rows and has no values per group; {ranked} have"
        )
    return _ranked(blocks_of(ranking), metric, ranking.group_by)


def _ranked(blocks: TieBlocks, metric: Metric, group_by: str) -> tuple[np.ndarray, np.ndarray]:
    defined = blocks.clicks > 0
    if metric.needs == "clicks and others":
        defined &= blocks.clicks < blocks.rows
    if not defined.any():
        needed = "a click" if metric.needs == "clicks" else "a click and a non-click"
        raise ValueError(
            f"`{metric.name}` needs {needed} in at least one {group_by}, and none of {len(defined)} has that"
        )
    return blocks.group[defined], _RANKED[metric.kind](blocks, int(metric.cut))[defined]


def _gauc(blocks: TieBlocks, _: int) -> np.ndarray:
    """By group: the share of pairs (click, non-click) where the click scores higher; a tie is one half."""
    tied = blocks.size - blocks.hits
    lower = (blocks.rows - blocks.clicks)[blocks.block_group] - (blocks.start - blocks.above) - tied
    pairs = blocks.clicks * (blocks.rows - blocks.clicks)
    return blocks.sum_by_group(blocks.hits * (lower + 0.5 * tied)) / np.maximum(pairs, 1)


def _mrr(blocks: TieBlocks, k: int) -> np.ndarray:
    """By group, as in MIND's evaluation: the mean of 1/rank over all clicks; ``mrr@k``: ranks after k give 0.

    Ties: a block gives ``p (H(s+m) - H(s)) / m``. Unlike ``rr``, later clicks count, so with several clicks
    even a perfect ranking stays below 1.
    """
    return _clicks_mean(blocks, blocks.spread(1.0 / blocks.ranks()[: k or None]))


def _rr(blocks: TieBlocks, _: int) -> np.ndarray:
    """By group: 1/rank of the first click.

    Ties: the expectation over the place of the first of ``p`` clicks among ``m`` rows. It depends only on
    (s, m, p), which take few values, so each distinct triple is computed once.
    """
    group, start, size, hits = blocks.first_with_click()
    expected = 1.0 / (start + 1)
    tied = size > 1
    triples, which = np.unique(np.stack([start, size, hits], 1)[tied], axis=0, return_inverse=True)
    expected[tied] = np.array([_expected_first(*triple) for triple in triples.tolist()])[which.reshape(-1)]
    return blocks.to_groups(group, expected)


def _expected_first(start: int, size: int, hits: int) -> float:
    place = np.arange(size - hits + 1)  # rows of the block above its first click
    no_click_above = np.concatenate(([1.0], np.cumprod((size - hits - place[:-1]) / (size - place[:-1]))))
    return float((no_click_above * hits / (size - place) / (start + place + 1)).sum())


def _lrap(blocks: TieBlocks, _: int) -> np.ndarray:
    """By group: label ranking average precision, the mean over clicks of (clicks ranked no lower) / rank.

    ONCE's code reports it as MRR. Ties: a click that is i-th in its block has on average ``(p-1)(i-1)/(m-1)``
    clicks of the block before it, and every i is equally likely. scikit-learn instead puts all tied rows at
    the lowest rank of their block; without ties the two agree.
    """
    harmonic = np.concatenate(([0.0], np.cumsum(1.0 / blocks.ranks())))
    start, size, hits = blocks.start, blocks.size, blocks.hits
    reciprocals = harmonic[start + size] - harmonic[start]
    clicks_before = (hits - 1) / np.maximum(size - 1, 1)  # for each row of the block before the click
    sums = (blocks.above + 1) * reciprocals + clicks_before * (size - (start + 1) * reciprocals)
    return _clicks_mean(blocks, hits * sums / size)


def _ndcg(blocks: TieBlocks, k: int) -> np.ndarray:
    """By group: gain 1 per click, discount 1/log2(rank + 1), divided by the maximum for P clicks within k.

    Ties: every click of a block gets the block's mean discount, as in scikit-learn.
    """
    discount = 1.0 / np.log2(blocks.ranks()[:k] + 1)
    ideal = np.cumsum(discount)[np.clip(blocks.clicks, 1, len(discount)) - 1]
    return blocks.sum_by_group(blocks.spread(discount)) / ideal


def _hit(blocks: TieBlocks, k: int) -> np.ndarray:
    """By group: whether any click is among the first k.

    Ties: with t rows of the first clicked block within k, the probability is ``1 - C(m-t, p) / C(m, p)``.
    """
    group, start, size, hits = blocks.first_with_click()
    within = np.clip(min(k, blocks.longest) - start, 0, size)
    few, many = np.minimum(within, hits), np.maximum(within, hits)
    miss = np.ones(len(group))
    for drawn in range(int(few.max(initial=0))):  # C(m-t, p) / C(m, p) as a product of min(t, p) factors
        active = np.flatnonzero((few > drawn) & (miss > 0))
        if not len(active):
            break
        miss[active] *= np.maximum(size[active] - many[active] - drawn, 0) / (size[active] - drawn)
    return blocks.to_groups(group, 1.0 - miss)


def _recall(blocks: TieBlocks, k: int) -> np.ndarray:
    """By group: the share of its clicks among the first k. Ties: a block with t rows within k gives p t/m."""
    return _clicks_mean(blocks, blocks.spread(np.ones(min(k, blocks.longest))))


def _precision(blocks: TieBlocks, k: int) -> np.ndarray:
    """By group: clicks among the first k, divided by k even if the group is shorter. Ties as in recall."""
    return blocks.sum_by_group(blocks.spread(np.ones(min(k, blocks.longest)))) / k


def _clicks_mean(blocks: TieBlocks, sums_X: np.ndarray) -> np.ndarray:
    return blocks.sum_by_group(sums_X) / np.maximum(blocks.clicks, 1)


def _auc(click: np.ndarray, score: np.ndarray, _: float) -> float:
    """Over all rows: the share of pairs (click, non-click) where the click scores higher; a tie is one half.

    Unlike ``gauc`` it also compares rows of different groups, so it needs a sort of its own.
    """
    positives, negatives = np.sort(score[click]), np.sort(score[~click])
    if not len(positives) or not len(negatives):
        raise ValueError(
            f"`auc` needs clicks and non-clicks, got {len(positives)} and {len(negatives)}; leave it out"
        )
    lower = int(np.searchsorted(negatives, positives, "left").sum(dtype=np.int64))
    not_higher = int(np.searchsorted(negatives, positives, "right").sum(dtype=np.int64))
    return (lower + not_higher) / (2 * len(positives) * len(negatives))


def _logloss(click: np.ndarray, score: np.ndarray, _: float) -> float:
    """Over all rows: the mean of -log p, p the label's probability by sigmoid(score); scores are logits.

    Nothing is clipped: a confident mistake costs its logit, and an infinite logit makes the figure infinite.
    """
    return float(np.logaddexp(0.0, np.where(click, -score, score), dtype=np.float64).mean())


def _f1(click: np.ndarray, score: np.ndarray, threshold: float) -> float:
    """Over all rows: 2 TP / (2 TP + FP + FN), where sigmoid(score) >= t is a predicted click."""
    if not click.any():
        raise ValueError("`f1` needs at least one click, got none; leave it out")
    taken = score.astype(np.float64) >= np.log(threshold / (1.0 - threshold))
    return 2 * int((taken & click).sum()) / (int(taken.sum()) + int(click.sum()))


_RANKED: dict[str, Callable[[TieBlocks, int], np.ndarray]] = {
    "gauc": _gauc,
    "mrr": _mrr,
    "rr": _rr,
    "lrap": _lrap,
    "ndcg": _ndcg,
    "hit": _hit,
    "recall": _recall,
    "precision": _precision,
}
_POOLED: dict[str, Callable[[np.ndarray, np.ndarray, float], float]] = {
    "auc": _auc,
    "logloss": _logloss,
    "f1": _f1,
}
_NAMED_ELSEWHERE = {"mrr0": "rr", "map": "lrap", "hitratio": "hit", "hr": "hit"}
_CUT_AT_K = frozenset({"ndcg", "hit", "recall", "precision"})
_MAY_BE_CUT = frozenset({"mrr"})
