"""Items that are alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import legorec
from tests.recipes.test_load import fields
from tests.support.runs import arguments, finish, write_store


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("similar")
    return legorec.load(
        finish(arguments(write_store(folder / "store"), folder / "runs", epoch=1)), device="cpu"
    )


@pytest.mark.parametrize("by", ["cosine", "product"])
def test_likeness_is_that_of_the_vectors(trained: Any, by: str) -> None:
    vectors = trained.item_vectors.numpy().astype(np.float64)
    if by == "cosine":
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    likeness = vectors @ vectors.T
    for row, found in enumerate(trained.similar_items([f"i{n}" for n in range(60)], 7, by=by)):
        others = np.delete(likeness[row], row)
        assert f"i{row}" not in {each.item for each in found}
        assert [each.score for each in found] == pytest.approx(np.sort(others)[::-1][:7], abs=1e-5)
        for each in found:
            assert each.score == pytest.approx(likeness[row, int(each.item[1:])], abs=1e-5)


def test_one_item_is_answered_as_among_others(trained: Any) -> None:
    one = trained.similar_items("i3", 5)
    assert [each.item for each in trained.similar_items(["i1", "i3"], 5)[1]] == [each.item for each in one]
    alike = trained.similar_items(fields(trained, 3), 5)
    assert alike[0].score == pytest.approx(1, abs=1e-5), "the item of these fields is in the store"
    assert trained.similar_items([], 5) == []


def test_filters_and_exclusions_hold(trained: Any) -> None:
    some = {each.item for each in trained.recommend([], 60, filter={"category": "c1"})}
    found = trained.similar_items("i3", 60, filter={"category": "c1"}, exclude=["i4"])
    assert {each.item for each in found} == some - {"i3", "i4"}


@pytest.mark.parametrize(
    ("items", "how", "message"),
    [
        ("nobody", {}, "1 of 1 items are not in"),
        (["i1", 3], {}, "an item of `items` is a raw id .* got 3"),
        ("i1", {"by": "euclid"}, "`by` must be 'cosine' or 'product', got 'euclid'"),
        ("i1", {"k": 0}, "`k` must be at least 1"),
    ],
)
def test_what_has_no_vector_is_a_message(trained: Any, items: Any, how: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trained.similar_items(items, **how)
