"""A trained model on a store that has grown since: read where it was made alike, refused where rows count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import legorec
from tests.support.grown import NEW, write_grown
from tests.support.runs import arguments, finish, refused, write_store

BY_CONTENT = ("lego_nrms", "lego_naml", "lego_din")
HISTORY, SHOWN = ["i3", "i7", "i8"], [f"i{number}" for number in range(60)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A folder, a store in it, and one that was made like it."""
    folder = tmp_path_factory.mktemp("grown")
    old = write_store(folder / "old")
    return folder, old, write_grown(old, folder / "new", like=True)


@pytest.mark.parametrize("model", BY_CONTENT)
def test_old_items_score_alike_on_either_store(made: tuple[Path, Path, Path], model: str) -> None:
    folder, old, new = made
    run = finish(arguments(old, folder / model, model=model, epoch=1))
    before, after = legorec.load(run, "cpu"), legorec.load(run, "cpu", store=new)
    # In other places of a batch sums may round otherwise.
    np.testing.assert_allclose(after.score(HISTORY, SHOWN), before.score(HISTORY, SHOWN), atol=1e-6)
    fields = {"title": "w1 unheard", "category": "opera", "subcategory": ["s1"]}
    np.testing.assert_allclose(after.score(HISTORY, [NEW[0]]), before.score(HISTORY, [fields]), atol=1e-6)
    assert set(NEW) < {each.item for each in after.recommend(HISTORY, k=100)}


@pytest.mark.parametrize("model, what", [("lego_nrms_id", "items"), ("lego_lstur", "users")])
def test_weights_by_row_are_refused_with_the_way_out(
    made: tuple[Path, Path, Path], model: str, what: str
) -> None:
    folder, old, new = made
    run = finish(arguments(old, folder / model, model=model, epoch=1))
    with pytest.raises(ValueError) as refusal:
        legorec.load(run, "cpu", store=new)
    assert f"belong to {what} by their rows" in str(refusal.value)
    assert f"exp.init_from {run}" in str(refusal.value)


def test_a_store_that_was_not_made_alike_is_refused_with_both_ways_out(
    made: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, old, _ = made
    run = finish(arguments(old, folder / "fresh", epoch=1))
    fresh = write_grown(old, tmp_path / "fresh")
    argv = arguments(fresh, tmp_path / "tested", exp="test", load=run)
    refused(argv, capsys, "'tokenizers/words/tokenizer.json' differs", "(--like)", f"exp.init_from {run}")
