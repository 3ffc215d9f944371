"""The metric that a name stands for."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

from legorec.metrics.listed import LISTED
from legorec.metrics.outside import OutsideMetric, outside_metric
from legorec.metrics.pooled import POOLED
from legorec.metrics.ranked import RANKED

Needs = Literal["rows", "clicks", "clicks and others"]

_NAMED_ELSEWHERE = {
    "mrr0": "rr",
    "map": "lrap",
    "hitratio": "hit",
    "hr": "hit",
    "ild": "vector_diversity",
    "arp": "popularity_bias",
}
_CUT_AT_K = frozenset({"ndcg", "hit", "recall", "precision", *LISTED})
_MAY_BE_CUT = frozenset({"mrr"})


@dataclass(frozen=True)
class Metric:
    """A requested metric: ``ndcg@10`` is the kind ``ndcg`` with the cut 10."""

    name: str
    kind: str
    cut: float = 0  # k of a ranked metric, the threshold of f1
    outside: OutsideMetric | None = None  # where the kind is the dotted path of code of one's own

    @property
    def is_pooled(self) -> bool:
        """Whether it is computed over all rows, or all lists, at once and has no values per group."""
        if self.outside is not None:
            return self.outside.pooled
        return self.kind in POOLED or (self.of_lists and LISTED[self.kind].pool is not None)

    @property
    def of_lists(self) -> bool:
        """Whether it is about the items of lists, which a ranking of all items alone has."""
        return self.kind in LISTED

    @property
    def higher_is_better(self) -> bool:
        if self.outside is not None:
            return self.outside.higher_is_better
        return LISTED[self.kind].higher_is_better if self.of_lists else self.kind != "logloss"

    @property
    def needs(self) -> Needs:
        """What must be there for it to be defined: in some group, or among all rows if it is pooled."""
        if self.outside is not None:
            return self.outside.needs
        if self.kind in ("auc", "gauc"):
            return "clicks and others"
        return "rows" if self.kind == "logloss" else "clicks"


def parse_metric(name: str) -> Metric:
    """The metric with a name such as ``gauc``, ``ndcg@10`` or ``f1@0.5``; case does not matter.

    A dotted path such as ``my_lab.metrics.depth@10`` is a metric from outside, see ``metrics.outside``.

    Raises:
        ValueError: there is none of that name, or it is not written so.
    """
    if not isinstance(name, str):
        raise ValueError(f"a metric is named by a text, as in 'gauc', got {name!r}")
    if "." in name.partition("@")[0]:
        return _outside(name)
    kind, at, cut = name.lower().partition("@")
    if kind not in _kinds():
        raise ValueError(_unknown(name, kind, cut))
    if kind == "f1":
        if not re.fullmatch(r"0?\.[0-9]{1,9}", cut) or float(cut) == 0:
            raise ValueError(f"`f1` takes a threshold between 0 and 1, as in 'f1@0.5', got {name!r}")
        return Metric(f"f1@0.{cut.partition('.')[2].rstrip('0')}", kind, float(cut))
    if kind in _CUT_AT_K or (kind in _MAY_BE_CUT and at):
        least = LISTED[kind].least if kind in LISTED else 1
        return Metric(f"{kind}@{cut}", kind, _whole(kind, cut, name, least))
    if at:
        raise ValueError(f"`{kind}` takes no number, got {name!r}; write {kind!r}")
    return Metric(kind, kind)


def parse_sum(name: str) -> list[Metric]:
    """The metrics whose sum a name stands for: ``recall@3 + recall@5``; most often a single one.

    Raises:
        ValueError: one is not a metric or stands there twice, or higher is not better of all or of none.
    """
    if not isinstance(name, str):
        return [parse_metric(name)]
    found = [parse_metric(each.strip()) for each in name.split("+")]
    names = [each.name for each in found]
    if len(set(names)) < len(names):
        raise ValueError(f"a sum has each metric once, got {name!r}")
    if len({each.higher_is_better for each in found}) > 1:
        raise ValueError(f"metrics of which higher is better and lower is better have no sum, got {name!r}")
    return found


def spelling(kind: str, cut: str = "") -> str:
    """How a kind is written, as ``ndcg@k``."""
    return f"{kind}@{cut or 'k'}" if kind in _CUT_AT_K else f"f1@{cut or 't'}" if kind == "f1" else kind


def longest_list(names: list[str]) -> int:
    """The length of the lists that these metrics look at; 0: none."""
    metrics = [parse_metric(name) for name in names]
    return max((int(each.cut) for each in metrics if each.of_lists), default=0)


def list_needs(names: list[str]) -> set[str]:
    """What these metrics have to know of the items, as ``ItemFacts`` has it."""
    metrics = [parse_metric(name) for name in names]
    every = {str(LISTED[each.kind].needs) for each in metrics if each.of_lists}
    return every - {""}


def _outside(name: str) -> Metric:
    path, at, cut = name.partition("@")
    found = outside_metric(path)
    if at and "k" not in found.takes:
        raise ValueError(f"`{path}` takes no `k`, got {name!r}; write {path!r}")
    if not at and found.needs_k:
        raise ValueError(f"`{path}` takes a `k`, as in '{path}@10', got {name!r}")
    return Metric(name, path, _whole(path, cut, name) if at else 0, found)


def _whole(kind: str, cut: str, name: str, least: int = 1) -> int:
    if not re.fullmatch(r"[1-9][0-9]*", cut) or int(cut) < least:
        raise ValueError(f"`{kind}` takes a whole number k >= {least}, as in '{kind}@10', got {name!r}")
    return int(cut)


def _kinds() -> list[str]:
    return [*RANKED, *POOLED, *LISTED]


def _unknown(name: str, kind: str, cut: str) -> str:
    elsewhere = _NAMED_ELSEWHERE.get(kind)
    near = [elsewhere] if elsewhere else difflib.get_close_matches(kind, _kinds(), n=1)
    hint = f"the nearest is '{spelling(near[0], cut)}'; " if near else ""
    return f"unknown metric {name!r}; {hint}known are {', '.join(map(spelling, _kinds()))}"
