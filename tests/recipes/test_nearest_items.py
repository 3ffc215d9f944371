"""An index of nearest items: its candidates are scored exactly, and what it misses is measured."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import legorec
from tests.recipes.test_recommending_many import same, some_histories
from tests.support.runs import arguments, finish, write_store


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("nearest")
    run = finish(arguments(write_store(folder / "store"), folder / "runs", epoch=1))
    return legorec.load(run, device="cpu")


@pytest.mark.parametrize("how", [{}, {"include_history": True}])
def test_an_index_that_looks_everywhere_changes_nothing(trained: Any, how: dict[str, Any]) -> None:
    pytest.importorskip("faiss")
    histories = some_histories()
    trained.index = None
    wanted = trained.recommend(histories, 5, **how)
    report = trained.use_index(histories, 5, candidates=60)
    assert report["recall"] == 1 and report["items"] == 60 and report["histories"] == 40
    same(trained.recommend(histories, 5, **how), wanted)
    same(trained.recommend(histories, 60), [trained.recommend(each, 60) for each in histories])


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_what_is_found_has_its_exact_score(trained: Any, kind: str) -> None:
    pytest.importorskip("faiss")
    histories = some_histories()
    report = trained.use_index(histories, 4, kind=kind, candidates=4)
    assert 0 < report["recall"] <= 1
    found = trained.recommend(histories, 4)
    for history, each in zip(histories, found, strict=True):
        assert len(each) == 4 and not {one.item for one in each} & set(history)
        if history:
            exact = trained.score(history, [one.item for one in each])
            np.testing.assert_allclose([one.score for one in each], exact, atol=1e-5)
    chosen = trained.recommend(histories, 4, filter={"category": "c1"})
    trained.index = None
    same(chosen, trained.recommend(histories, 4, filter={"category": "c1"}))


def test_what_has_no_index_is_a_message(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="`candidates` must be a whole number, `k` .10. at least, got 3"):
        trained.use_index([["i1"]], candidates=3)
    with pytest.raises(ValueError, match="`histories` must be several"):
        trained.use_index(["i1"])
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "faiss", None)
        with pytest.raises(ValueError, match="an index needs `faiss`: pip install 'legorec.faiss.'"):
            trained.use_index([["i1"]])
    monkeypatch.setattr(type(trained.model), "scores_by_product", False)
    with pytest.raises(ValueError, match="DotPredictor scores in another way"):
        trained.use_index([["i1"]])
