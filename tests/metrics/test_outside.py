"""Metrics of one's own: found by dotted path, read before they are imported, and measured as any other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from legorec.batch import Others, Ranking
from legorec.metrics import evaluate, parse_metric, per_group
from legorec.slices import Slicing, evaluate_slices

NUMBERS = count()  # modules are imported once, and paths are looked up once
CODE = """
import numpy as np
from .inner import depth

def own_ndcg(labels, k):
    discount = 1 / np.log2(np.arange(len(labels)) + 2)
    ideal = np.sort(labels)[::-1]
    return (labels * discount)[:k].sum() / (ideal * discount)[:k].sum()

def first(labels):
    return 1 / (1 + int(np.flatnonzero(labels)[0]))

def margin(labels, scores):
    return scores[0] - scores[-1]

class Loss:
    pooled = True
    higher_is_better = False
    needs: str = "rows"

    def __call__(self, labels, scores, groups):
        return np.mean((labels - scores) ** 2) + 0 * len(groups)

class Base:
    needs = "clicks and others"

    def __call__(self, labels, k=3):
        return labels[:k].sum()

class Deep(Base):
    higher_is_better = False

class Size:
    needs = "rows"

    def __call__(self, labels):
        return len(labels)

def nothing(scores): return 0
def strange(labels, users): return 0
def star(*labels): return 0
def broken(labels): raise KeyError("gone")
def endless(labels): return float("nan")
def text(labels): return "x"

class Mute:
    pooled = True

class Unsaid:
    pooled = bool(1)
    def __call__(self, labels): return 0

class Wrong:
    needs = "users"
    def __call__(self, labels): return 0

class Asks:
    def __init__(self, size): pass
    def __call__(self, labels): return 0

VALUE = 3
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = f"metrics_lab_{next(NUMBERS)}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "inner.py").write_text("def depth(labels, k=2):\n    return labels[:k].sum()\n")
    (tmp_path / name / "own.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield f"{name}.own"
    for module in [each for each in sys.modules if each.partition(".")[0] == name]:
        del sys.modules[module]


def drawn(seed: int, levels: int, whole: bool = False) -> Ranking:
    """Groups of up to 6 rows with scores of a few levels, in any order of rows."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(40), rng.integers(1, 7, 40)))
    label = rng.integers(0, 2, len(group))
    return Ranking(group, label, rng.integers(0, levels, len(group)).astype(np.float32))


@pytest.mark.parametrize("levels", [1, 2, 3, 1000])
@pytest.mark.parametrize(("own", "built_in"), [("own_ndcg@3", "ndcg@3"), ("first", "rr")])
def test_the_same_formula_gives_the_same_value_with_ties(
    lab: str, own: str, built_in: str, levels: int
) -> None:
    ranking = drawn(levels, levels)
    groups, values = per_group(ranking, f"{lab}.{own}")
    wanted = per_group(ranking, built_in)
    np.testing.assert_array_equal(groups, wanted[0])
    np.testing.assert_allclose(values, wanted[1], atol=1e-12)
    report = evaluate(ranking, [f"{lab}.{own}", built_in])
    assert report[f"{lab}.{own}"] == pytest.approx(report[built_in])
    assert report.basis(f"{lab}.{own}") == report.basis(built_in)


def test_long_ties_are_drawn_and_the_draw_is_always_the_same(lab: str) -> None:
    label = np.tile([1, 1, 0, 0, 0, 0, 0, 0, 0, 0], 200)
    ranking = Ranking(np.repeat(np.arange(200), 10), label, np.zeros(2000, np.float32))
    once, twice = (evaluate(ranking, [f"{lab}.first", "rr"]) for _ in range(2))
    assert once == twice
    assert once[f"{lab}.first"] == pytest.approx(once["rr"], abs=0.05)


def test_a_corpus_is_measured_by_its_counts(lab: str) -> None:
    others = Others(np.array([2.0, 0, 5]), np.array([0.0, 1, 0]), np.array([9.0, 9, 7]))
    ranking = Ranking(np.array([0, 0, 1]), np.ones(3), np.array([1.0, 2, 3]), others=others)
    for own, built_in in (("own_ndcg@4", "ndcg@4"), ("first", "rr")):
        np.testing.assert_allclose(
            per_group(ranking, f"{lab}.{own}")[1], per_group(ranking, built_in)[1], atol=1e-12
        )
    with pytest.raises(ValueError, match="takes scores, and of a whole corpus only those of the clicks"):
        evaluate(ranking, [f"{lab}.margin"])
    with pytest.raises(ValueError, match="pooled over all rows, and of a whole corpus"):
        evaluate(ranking, [f"{lab}.Loss"])


def test_a_class_says_how_it_is_measured(lab: str) -> None:
    ranking = Ranking([3, 3, 4, 4, 5], [1, 0, 0, 0, 1], [0.5, 0.0, 0.25, 1.0, 1.0])  # type: ignore[arg-type]
    loss = parse_metric(f"{lab}.Loss")
    assert loss.is_pooled and not loss.higher_is_better and loss.needs == "rows"
    assert evaluate(ranking, [loss.name])[loss.name] == pytest.approx((0.25 + 0.0625 + 1) / 5)
    assert [per_group(ranking, f"{lab}.{name}")[0].tolist() for name in ("Size", "depth", "Deep@1")] == [
        [3, 4, 5],
        [3, 5],
        [3],
    ]
    assert not parse_metric(f"{lab}.Deep").higher_is_better and parse_metric(f"{lab}.depth@5").cut == 5
    assert per_group(ranking, f"{lab}.margin")[1].tolist() == [0.5, 0.0]
    parts = {"clicked": np.array([0, 1]), "others": np.array([2, 3])}
    found = evaluate_slices(ranking, [Slicing("s", parts)], [f"{lab}.Size", f"{lab}.first"])["s"]
    assert dict(found["others"]) == {f"{lab}.Size": 2.0} and len(found["clicked"]) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("frist", r"no function or class 'frist' in .*own\.py; .*did you mean 'first'\?"),
        ("VALUE", "no function or class 'VALUE'"),
        ("first@3", r"takes no `k`, got .* write"),
        ("own_ndcg", r"takes a `k`, as in .*own_ndcg@10"),
        ("own_ndcg@0", "takes a whole number k >= 1"),
        ("nothing", r"own\.py:\d+\) must take `labels`, and may take `scores`, `k`; it takes scores"),
        ("strange", "it takes labels, users"),
        ("star", r"must name its arguments, without \*args"),
        ("Mute", "has no `__call__`"),
        ("Unsaid", "`pooled` of the metric .* must be written out as True or False"),
        ("Wrong", "`needs` .* 'rows' or 'clicks' or 'clicks and others'"),
    ],
)
def test_a_wrong_one_is_told_without_importing_it(lab: str, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_metric(f"{lab}.{name}")
    assert lab not in sys.modules


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", "failed for impression 0: KeyError: 'gone'"),
        ("endless", "gave nan for impression 0; a finite number is wanted"),
        ("text", "failed for impression 0: ValueError"),
        ("Asks", "cannot be loaded: TypeError"),
    ],
)
def test_one_that_fails_says_where(lab: str, name: str, message: str) -> None:
    asked: tuple[Callable[[Ranking], object], ...] = (
        lambda ranking: evaluate(ranking, [f"{lab}.{name}"]),
        lambda ranking: per_group(ranking, f"{lab}.{name}"),
    )
    for ask in asked:
        with pytest.raises(ValueError, match=message):
            ask(Ranking([0, 0], [1, 0], [0.5, 0.0]))  # type: ignore[arg-type]


def test_a_module_that_is_not_there_is_told() -> None:
    with pytest.raises(
        ValueError, match=r"no metric 'no_lab\.own\.first': no module 'no_lab\.own' on the Pyt"
    ):
        parse_metric("no_lab.own.first@3")
