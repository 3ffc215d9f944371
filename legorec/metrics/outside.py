"""Metrics of one's own, named by the dotted path of a function or a class.

A function is called for each group, and says by its arguments what it is given::

    def depth(labels, k=10): ...     # labels (n,) in the order of the ranking, 1.0 for a click
    def margin(labels, scores): ...  # scores (n,), falling

It returns a number, and the plain mean is taken over the groups that have a click. A class, made without
arguments and called in the same way, may say more, written out in its body::

    class Depth:
        higher_is_better = False     # by which the best epoch is chosen
        needs = "clicks and others"  # "rows", "clicks" or "clicks and others": which groups are measured
        pooled = True                # called once, for all rows as they are stored; ``groups`` is offered too

Where rows of a group tie, the value is its mean over the orders in which these can stand: over all of them
where clicks and others can be arranged in at most ``ARRANGED`` ways, else over ``ARRANGED`` drawn ones, the
same in every run. Among all items only clicks have scores, so ``scores`` and pooled metrics are refused
there. Reading the source decides all that; the code is imported when something is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from legorec.registry import RegistryError, find_code, load_code
from legorec.tie_blocks import TieBlocks, checked

if TYPE_CHECKING:
    from legorec.batch import Ranking
    from legorec.registry import Code

ARRANGED = 64
OFFERED = ("labels", "scores", "k")
Needs = Literal["rows", "clicks", "clicks and others"]


@dataclass(frozen=True)
class OutsideMetric:
    """A metric from outside as its source tells it."""

    code: Code
    takes: tuple[str, ...]
    needs_k: bool
    pooled: bool = False
    higher_is_better: bool = True
    needs: Needs = "clicks"


def outside_metric(path: str) -> OutsideMetric:
    """The metric at a dotted path, read from source.

    Raises:
        ValueError: there is none, or it is not written as the head of this module says.
    """
    try:
        code = find_code(path)
    except RegistryError as error:
        raise ValueError(f"no metric {path!r}: {error}") from error
    says = {name: _said(code, name, kinds) for name, kinds in _SAYS.items() if name in code.says}
    offered = (*OFFERED, "groups") if says.get("pooled") else OFFERED
    wrong = [name for name, required in code.inputs.items() if name not in offered and required]
    taken = tuple(name for name in code.inputs if name in offered)
    if wrong or "labels" not in taken:
        raise ValueError(
            f"the metric {path!r} ({code.place}) must take `labels`, and may take "
            f"{', '.join(f'`{name}`' for name in offered if name != 'labels')}; it takes "
            f"{', '.join(code.inputs) or 'nothing'}"
        )
    return OutsideMetric(code, taken, bool(code.inputs.get("k")), **says)


_SAYS: dict[str, tuple[Any, ...]] = {
    "pooled": (True, False),
    "higher_is_better": (True, False),
    "needs": get_args(Needs),
}


def _said(code: Code, name: str, allowed: tuple[Any, ...]) -> Any:
    value = code.says[name]
    if value not in allowed or type(value) is not type(allowed[0]):
        raise ValueError(
            f"`{name}` of the metric {code.path!r} ({code.place}) must be written out as "
            f"{' or '.join(map(repr, allowed))}"
        )
    return value


def pooled_value(metric: OutsideMetric, ranking: Ranking, k: int) -> float:
    """The figure of a pooled one over all rows.

    Raises:
        ValueError: it gives no number, or what it needs is not there.
    """
    group, click, score = checked(ranking)
    lacks = metric.needs == "clicks and others" and click.all()
    if metric.needs != "rows" and (not click.any() or lacks):
        raise ValueError(f"`{metric.code.path}` needs {metric.needs}, and not all are there; leave it out")
    given = {"labels": click.astype(np.float64), "scores": score, "groups": group}
    return _number(metric, _function(metric), given, k, "all rows")


def group_values(
    metric: OutsideMetric, ranking: Ranking, blocks: TieBlocks, wanted: np.ndarray, k: int
) -> np.ndarray:
    """(G,) the values of the wanted groups (G,), 0 for the others.

    Raises:
        ValueError: it gives no number, or takes scores where others than clicks have none.
    """
    if ranking.others is not None and "scores" in metric.takes:
        raise ValueError(
            f"`{metric.code.path}` takes scores, and of a whole corpus only those of the clicks are kept; "
            "one that takes labels alone can be measured"
        )
    call, scores = _function(metric), _falling_scores(ranking) if "scores" in metric.takes else None
    starts = np.append(0, np.cumsum(blocks.rows))
    first = np.searchsorted(blocks.block_group, np.arange(len(blocks.group) + 1))
    values = np.zeros(len(blocks.group))
    for group in np.flatnonzero(wanted).tolist():
        part = slice(first[group], first[group + 1])
        given = {} if scores is None else {"scores": scores[starts[group] : starts[group + 1]]}
        place = f"{ranking.group_by} {blocks.group[group]}"
        values[group] = np.mean(
            [
                _number(metric, call, {"labels": labels, **given}, k, place)
                for labels in arrangements(
                    int(blocks.rows[group]), blocks.start[part], blocks.size[part], blocks.hits[part]
                )
            ]
        )
    return values


def arrangements(rows: int, start: np.ndarray, size: np.ndarray, hits: np.ndarray) -> Iterator[np.ndarray]:
    """Labels (rows,) of one group in the orders that its ties allow; all of them are equally likely.

    Args:
        start, size, hits: (X,) of its tie blocks that hold a click, see ``TieBlocks``.
    """
    blocks = list(zip(start.tolist(), size.tolist(), hits.tolist(), strict=True))
    if math.prod(math.comb(m, p) for _, m, p in blocks) <= ARRANGED:
        for chosen in product(*(combinations(range(s, s + m), p) for s, m, p in blocks)):
            yield _labels(rows, [place for places in chosen for place in places])
        return
    rng = np.random.default_rng(0)
    for _ in range(ARRANGED):
        drawn = [s + rng.choice(m, p, replace=False) for s, m, p in blocks]
        yield _labels(rows, np.concatenate(drawn))


def _labels(rows: int, clicked: Any) -> np.ndarray:
    found = np.zeros(rows)
    found[np.asarray(clicked, dtype=np.int64)] = 1.0
    return found


def _falling_scores(ranking: Ranking) -> np.ndarray:
    """(R,) group after group, from the top."""
    return ranking.score[np.lexsort((-ranking.score, ranking.group))]


def _function(metric: OutsideMetric) -> Callable[..., Any]:
    try:
        found = load_code(metric.code)
        return found() if metric.code.is_class else found
    except Exception as error:
        raise ValueError(
            f"the metric {metric.code.path!r} cannot be loaded: {type(error).__name__}: {error}"
        ) from error


def _number(
    metric: OutsideMetric, call: Callable[..., Any], given: Mapping[str, Any], k: int, place: str
) -> float:
    every = {**given, **({"k": k} if k else {})}
    try:
        value = call(**{name: every[name] for name in metric.takes if name in every})
        found = float(value)
    except Exception as error:
        raise ValueError(
            f"the metric {metric.code.path!r} failed for {place}: {type(error).__name__}: {error}"
        ) from error
    if not math.isfinite(found):
        raise ValueError(
            f"the metric {metric.code.path!r} gave {found} for {place}; a finite number is wanted"
        )
    return found
