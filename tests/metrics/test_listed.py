"""List metrics against their formulas, written out item by item."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.sparse import csr_array

from legorec.batch import Others, Ranking
from legorec.data.evaluation import Impressions
from legorec.data.histories import Histories
from legorec.data.interactions import Interactions
from legorec.data.list_facts import clicked_before, shares_of
from legorec.data.ragged import Ragged
from legorec.item_lists import ItemFacts, ItemLists
from legorec.metrics import evaluate, listed, parse_metric, per_group
from legorec.slices import Slicing, evaluate_slices

NUM_ITEMS, NUM_GROUPS, NUM_CATEGORIES, LONGEST = 30, 25, 5, 8
LISTS = (
    "coverage@{k}",
    "novelty@{k}",
    "diversity@{k}",
    "vector_diversity@{k}",
    "popularity_bias@{k}",
    "calibration@{k}",
)


class Drawn:
    """Lists, histories, categories and vectors as plain lists, and as a ranking."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.categories = [
            sorted(set(rng.integers(0, NUM_CATEGORIES, rng.integers(0, 4)).tolist()))
            for _ in range(NUM_ITEMS)
        ]
        self.histories = [rng.integers(0, NUM_ITEMS, rng.integers(0, 7)).tolist() for _ in range(NUM_GROUPS)]
        sizes = rng.integers(0, LONGEST + 1, NUM_GROUPS)
        sizes[0] = LONGEST
        self.lists = [rng.permutation(NUM_ITEMS)[:size].tolist() for size in sizes]
        self.clicks = rng.integers(0, 9, NUM_ITEMS)
        self.vectors = rng.normal(size=(NUM_ITEMS, 4))
        self.vectors[rng.integers(0, NUM_ITEMS, 3)] = 0
        self.group = rng.permutation(100)[:NUM_GROUPS]

    def ranking(self, sparse: bool = False) -> Ranking:
        norms = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        unit = self.vectors / np.where(norms > 0, norms, 1)
        facts = ItemFacts(
            num_candidates=NUM_ITEMS,
            num_real=NUM_ITEMS,
            num_users=11,
            clicks=self.clicks,
            categories=shares_of(Ragged.from_lists(self.categories), NUM_CATEGORIES),
            vectors=csr_array(unit) if sparse else unit,
        )
        items = np.full((NUM_GROUPS, LONGEST), -1)
        for row, each in enumerate(self.lists):
            items[row, : len(each)] = each
        counts = np.array([np.bincount(each, minlength=NUM_ITEMS) for each in self.histories], float)
        ones = np.ones(NUM_GROUPS)
        others = Others(ones, ones, ones * NUM_ITEMS)
        lists = ItemLists(self.group, items, csr_array(counts), facts)
        return Ranking(self.group, ones, ones, others=others, lists=lists)

    def expected(self, k: int) -> dict[str, dict[int, float]]:
        """By metric and group, in loops."""
        found: dict[str, dict[int, float]] = {
            name: {} for name in ("novelty", "diversity", "vectors", "calib")
        }
        for group, whole, history in zip(self.group.tolist(), self.lists, self.histories, strict=True):
            top = whole[:k]
            if top:
                bits = [math.log2(11 / max(1, self.clicks[item])) for item in top]
                found["novelty"][group] = sum(bits) / len(top)
            pairs = list(combinations(top, 2))
            if pairs:
                apart = [not set(self.categories[i]) & set(self.categories[j]) for i, j in pairs]
                found["diversity"][group] = sum(apart) / len(pairs)
                found["vectors"][group] = sum(1 - self.cosine(i, j) for i, j in pairs) / len(pairs)
            wanted, given = self.distribution(history), self.distribution(top)
            if wanted is not None:
                mixed = [
                    0.99 * q + 0.01 * p for p, q in zip(wanted, given or [0] * NUM_CATEGORIES, strict=True)
                ]
                found["calib"][group] = sum(
                    p * math.log(p / q) for p, q in zip(wanted, mixed, strict=True) if p
                )
        return found

    def cosine(self, i: int, j: int) -> float:
        norm = float(np.linalg.norm(self.vectors[i]) * np.linalg.norm(self.vectors[j]))
        return float(self.vectors[i] @ self.vectors[j]) / norm if norm else 0.0

    def distribution(self, items: list[int]) -> list[float] | None:
        mass = [0.0] * NUM_CATEGORIES
        for item in items:
            for category in self.categories[item]:
                mass[category] += 1 / len(self.categories[item])
        return [each / sum(mass) for each in mass] if sum(mass) else None


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [2, 5, 100])
def test_values_of_lists_are_those_of_their_formulas(seed: int, k: int) -> None:
    drawn = Drawn(seed)
    expected = drawn.expected(k)
    named = {
        "novelty": "novelty",
        "diversity": "diversity",
        "vectors": "vector_diversity",
        "calib": "calibration",
    }
    for own, kind in named.items():
        groups, values = per_group(drawn.ranking(sparse=seed % 2 == 0), f"{kind}@{k}")
        assert groups.tolist() == sorted(expected[own])
        np.testing.assert_allclose(values, [expected[own][group] for group in groups.tolist()], atol=1e-12)
        report = evaluate(drawn.ranking(), [f"{kind}@{k}"])
        assert report[f"{kind}@{k}"] == pytest.approx(np.mean(values))
        assert report.skipped[f"{kind}@{k}"] == NUM_GROUPS - len(values)


@pytest.mark.parametrize("seed", range(4))
def test_pooled_figures_of_lists_are_those_of_their_formulas(seed: int) -> None:
    drawn = Drawn(seed)
    report = evaluate(drawn.ranking(), ["coverage@3", "popularity_bias@3"])
    assert report["coverage@3"] == len({item for each in drawn.lists for item in each[:3]}) / NUM_ITEMS
    both = [(top[:3], history) for top, history in zip(drawn.lists, drawn.histories, strict=True)]
    kept = [(top, history) for top, history in both if top and history]
    now = np.mean([drawn.clicks[top].mean() for top, _ in kept])
    before = np.mean([drawn.clicks[history].mean() for _, history in kept])
    assert report["popularity_bias@3"] == pytest.approx(now / before)
    assert report.skipped["popularity_bias@3"] == NUM_GROUPS - len(kept)
    assert (
        report.basis("popularity_bias@3")
        == f"over the lists of {len(kept)} groups, {NUM_GROUPS - len(kept)} skipped"
    )


@pytest.mark.parametrize("cells", [1, 100])
def test_pages_change_nothing(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    names = [name.format(k=4) for name in LISTS]
    whole = evaluate(Drawn(2).ranking(), names)
    monkeypatch.setattr(listed, "CELLS", cells)
    assert dict(evaluate(Drawn(2).ranking(), names)) == pytest.approx(dict(whole))


def test_extremes() -> None:
    drawn = Drawn(0)
    drawn.categories = [[item % NUM_CATEGORIES] for item in range(NUM_ITEMS)]
    drawn.lists = [list(range(NUM_CATEGORIES))] * NUM_GROUPS
    drawn.histories = [list(range(10, 10 + NUM_CATEGORIES))] * NUM_GROUPS
    drawn.clicks = np.full(NUM_ITEMS, 11)
    report = evaluate(drawn.ranking(), [name.format(k=5) for name in LISTS])
    assert report["calibration@5"] == pytest.approx(0) and report["diversity@5"] == 1.0
    assert report["novelty@5"] == 0.0 and report["popularity_bias@5"] == 1.0
    assert report["coverage@5"] == NUM_CATEGORIES / NUM_ITEMS
    drawn.lists, drawn.vectors = [[0, 5, 10]] * NUM_GROUPS, np.ones((NUM_ITEMS, 4))
    report = evaluate(drawn.ranking(), ["diversity@5", "vector_diversity@5", "calibration@5"])
    assert report["diversity@5"] == 0.0 and report["vector_diversity@5"] == pytest.approx(0)
    assert 0 < report["calibration@5"] < math.log(1 / 0.01)


def test_slices_measure_the_lists_of_their_groups() -> None:
    drawn = Drawn(1)
    ranking = drawn.ranking()
    bare = np.flatnonzero([not each for each in drawn.histories])
    slicing = Slicing("half", {"one": np.arange(10), "bare": bare, "none": np.arange(0)})
    assert len(bare)
    found = evaluate_slices(ranking, [slicing], ["coverage@4", "calibration@4", "popularity_bias@4"])["half"]
    assert found["one"]["coverage@4"] == len({i for each in drawn.lists[:10] for i in each[:4]}) / NUM_ITEMS
    assert list(found["bare"]) == ["coverage@4"] and found["bare"].skipped["calibration@4"] == len(bare)
    assert not found["none"]


@pytest.mark.parametrize("name", LISTS)
def test_a_ranking_without_lists_is_refused(name: str) -> None:
    ranking = replace(Drawn(0).ranking(), lists=None)
    with pytest.raises(ValueError, match=r"is about lists of the best of all items, .* --candidates full"):
        evaluate(ranking, [name.format(k=5)])


def test_what_is_lower_is_better() -> None:
    better = {name: parse_metric(name.format(k=5)).higher_is_better for name in LISTS}
    assert [name for name, higher in better.items() if not higher] == [
        "popularity_bias@{k}",
        "calibration@{k}",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [("diversity@1", "k >= 2"), ("coverage", "k >= 1"), ("ild@5", "'vector_diversity@5'")],
)
def test_a_list_metric_has_a_length(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_metric(name)


def test_what_was_clicked_before_is_the_whole_history_without_generated_items() -> None:
    histories = Histories(np.array([1, 2, 2, 5, 3]), np.array([[0, 0], [0, 4], [3, 5]]), max_length=1)
    shown = Ragged.from_lists([[0], [0]])
    interactions = Interactions(np.array([0, 1]), np.array([1, 2]), shown, np.ones(2, np.uint8), None, None)
    found = clicked_before(Impressions(interactions, histories, 6), num_real=5).toarray()
    assert found.tolist() == [[0, 1, 2, 0, 0, 0], [0, 0, 0, 1, 0, 0]]
