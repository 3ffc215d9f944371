"""``recommender.add_items``: new items are encoded once, and from then on known by their raw ids."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import legorec
from legorec.files.sealed import load_sealed, save_sealed
from legorec.recipes.outputs.added_items import ADDED, read_added
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.named_runs import NamedModels
from tests.support.runs import arguments, finish, write_store

HISTORY = ["i3", "i7"]
NEW: dict[str, list[Any]] = {
    "item": ["a", "b", "c"],
    "title": ["w1 w2", "w3", None],
    "category": ["c1", "no such", "c0"],
    "subcategory": [["s1", "s2"], [], ["s0"]],
    "price": [1, 2, 3],  # which the model does not read
}
FIELDS = [{name: NEW[name][row] for name in ("title", "category", "subcategory")} for row in range(3)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("known")
    store = write_store(folder / "store")
    models = ("lego_nrms", "lego_din", "lego_nrms_id", "lego_miner_category")
    made = {
        name: finish(arguments(store, folder / name, model=name, epoch=1, **_least(name))) for name in models
    }
    title = {"epoch": 1, "data__fields": "{title@words: {max_length: 5}}"}
    return made | {"title alone": finish(arguments(store, folder / "title", model="lego_nrms", **title))}


def _least(name: str) -> dict[str, Any]:
    return {"hidden_size": 16} if "miner" in name else {}


@pytest.fixture
def trained(runs: dict[str, Path]) -> Any:
    return legorec.load(runs["lego_nrms"], "cpu")


@pytest.mark.parametrize("model", ["lego_nrms", "lego_din"])
def test_added_items_score_as_new_ones_do_and_are_recommended(runs: dict[str, Path], model: str) -> None:
    trained = legorec.load(runs[model], "cpu")
    wanted = trained.score([FIELDS[1], "i3"], ["i5", *FIELDS])
    before = trained.recommend(HISTORY, k=100)
    trained.add_items(NEW)
    np.testing.assert_allclose(trained.score(["b", "i3"], ["i5", "a", "b", "c"]), wanted, atol=1e-6)
    after = trained.recommend(HISTORY, k=100)
    assert {each.item for each in after} == {each.item for each in before} | set(NEW["item"])
    scores = dict(zip((each.item for each in after), (each.score for each in after), strict=True))
    for item, score in before:
        assert scores[item] == pytest.approx(score, abs=1e-6)
    assert "a" not in {each.item for each in trained.recommend(["a"], k=100)}
    assert trained.num_items == 63 and trained.item_vectors.shape == (63, 16)


def test_tables_of_all_kinds_give_the_same(runs: dict[str, Path]) -> None:
    rows = [{name: values[row] for name, values in NEW.items()} for row in range(3)]
    found = []
    for table in (NEW, pl.DataFrame(NEW), rows, {**NEW, "id": NEW["item"], "item": [0, 0, 0]}):
        trained = legorec.load(runs["lego_nrms"], "cpu")
        trained.add_items(table, **({"item_id": "id"} if "id" in table else {}))
        found.append(trained.item_vectors)
    assert all(torch.equal(found[0], each) for each in found[1:])


def test_items_may_be_added_again_and_again_and_whole_numbers_are_ids(trained: Any) -> None:
    for number in (1, 2):
        trained.add_items({**{name: values[:1] for name, values in NEW.items()}, "item": [number]})
    assert list(trained.known.ids) == ["1", "2"] and trained.num_items == 62
    one, two = trained.score(HISTORY, ["1", "2"])
    assert one == two
    trained.add_items({name: [] for name in NEW})
    assert trained.num_items == 62
    trained.add_items([{"item": 3, "title": "w3", "category": None, "subcategory": None}])
    assert trained.num_items == 63


def test_copies_pickles_and_saved_models_have_the_added_items(trained: Any, tmp_path: Path) -> None:
    trained.add_items(NEW)
    wanted = trained.recommend(HISTORY, k=100)
    carried = legorec.load(trained.save(tmp_path / "saved"), "cpu")
    for each in (copy.deepcopy(trained), pickle.loads(pickle.dumps(trained)), carried):
        assert each.recommend(HISTORY, k=100) == wanted
    carried.add_items({**{name: values[:1] for name, values in NEW.items()}, "item": ["d"]})
    assert legorec.load(carried.save(tmp_path / "again"), "cpu").num_items == 64 and trained.num_items == 63
    with pytest.raises(ValueError, match="1 of 3 items to be added are known already, first 'a'"):
        carried.add_items({**NEW, "item": ["e", "a", "f"]})
    assert carried.num_items == 64


@pytest.mark.parametrize("model", ["lego_nrms", "title alone"])
def test_filters_find_added_items_by_what_they_were_added_with(
    runs: dict[str, Path], tmp_path: Path, model: str
) -> None:
    trained = legorec.load(runs[model], "cpu")
    trained.add_items({name: NEW[name] for name in NEW})
    trained.add_items([{"item": "d", "title": "w1", "category": "c1", "subcategory": None}])

    def found(asked: Any, **wanted: Any) -> set[str]:
        every = {each.item for each in asked.recommend(HISTORY, k=100, filter=wanted)}
        many = asked.recommend([HISTORY, HISTORY[:1]], k=100, filter=wanted)
        assert {each.item for each in many[0]} == every
        return every & set("abcd")

    assert found(trained, category="c1") == {"a", "d"}
    assert found(trained, category=["c0", "no such"]) == {"b", "c"}
    assert found(trained, category=["c0", "c1"], subcategory=["s0", "s2"]) == {"a", "c"}
    assert {each.item for each in trained.similar_items("i3", 100, filter={"category": "no such"})} == {"b"}
    with pytest.raises(ValueError, match="'no much' is no category of 'category'; did you mean 'no such'"):
        found(trained, category="no much")
    carried = legorec.load(trained.save(tmp_path / "saved"), "cpu")
    if model == "lego_nrms":  # which reads it
        assert found(carried, category=["c1", "no such"]) == {"a", "b", "d"}
        return
    with pytest.raises(ValueError, match="'category', which is no field of the items here"):
        found(carried, category="c1")


def test_items_added_without_categories_are_found_by_no_filter(runs: dict[str, Path]) -> None:
    trained = legorec.load(runs["title alone"], "cpu")
    trained.add_items({"item": ["a", "b"], "title": ["w1", "w2"]})
    trained.add_items({name: values[:1] for name, values in {**NEW, "item": ["c"]}.items()})
    found = {each.item for each in trained.recommend(HISTORY, k=100, filter={"category": "c1"})}
    assert "c" in found and not found & {"a", "b"}


def test_added_items_of_an_earlier_version_have_no_categories(trained: Any, tmp_path: Path) -> None:
    trained.add_items(NEW)
    kept = load_sealed(trained.save(tmp_path / "saved") / ADDED)
    save_sealed({name: value for name, value in kept.items() if name != "categories"}, tmp_path / ADDED, {})
    read = read_added(tmp_path / ADDED)
    assert list(read.ids) == NEW["item"] and torch.equal(read.vectors, trained.added.vectors)
    assert not any(read.values_of("category"))


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"item": ["a", "i3", "i4"]}, "2 of 3 items to be added are known already, first 'i3'"),
        ({"item": ["a", "b", "a"]}, "'a' is there twice among the items to be added"),
        ({"item": ["a", None, "b"]}, "1 of 3 items to be added have no id"),
        ({"title": None}, "no column 'title', a field that the model reads; there are item, category"),
        ({"item": None}, "no column 'item', the ids; `item_id` names it"),
        ({"category": [["c1"], ["c2"], []]}, "column 'category' must hold single values to be a category"),
        ({"title": ["one"]}, "its columns differ in length"),
    ],
)
def test_tables_that_cannot_be_read_are_refused_and_nothing_is_added(
    trained: Any, changed: dict[str, Any], message: str
) -> None:
    table = {name: values for name, values in {**NEW, **changed}.items() if values is not None}
    with pytest.raises(ValueError, match=message):
        trained.add_items(table)
    assert trained.num_items == 60


@pytest.mark.parametrize(
    "model, message",
    [
        ("lego_nrms_id", "IdsSource reads item ids alone; it cannot encode a new item"),
        ("lego_miner_category", "looks items up by their rows in the store"),
    ],
)
def test_models_that_know_items_by_their_rows_say_so(runs: dict[str, Path], model: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        legorec.load(runs[model], "cpu").add_items({"item": ["a"]})


def test_items_of_several_parts_are_added_by_those_that_read_fields(tmp_path: Path) -> None:
    named = NamedModels(tmp_path)
    trained = legorec.load(finish(named.command("joined-naml", epoch=1)), "cpu")
    trained.add_items(NEW)
    carried = legorec.load(trained.save(tmp_path / "saved"), "cpu")
    np.testing.assert_array_equal(carried.score(HISTORY, ["a", "i1"]), trained.score(HISTORY, ["a", "i1"]))


@pytest.mark.slow
def test_items_that_a_language_model_encoded_travel_without_it(tmp_path: Path) -> None:
    bert = write_language_model(tmp_path / "bert", "bert").folder
    store = write_language_store(tmp_path / "store", bert=bert)
    places = store, bert, tmp_path / "cache", tmp_path / "runs"
    flags = {"layer": 0, "epoch": 1, "batch_size": 16}
    trained = legorec.load(finish(language_arguments(*places, "bert-nrms", "tt-llm", **flags)), "cpu")
    trained.add_items(NEW)
    saved = trained.save(tmp_path / "saved")
    moved = legorec.load(saved, "cpu")
    assert moved.recommend(HISTORY, k=70) == trained.recommend(HISTORY, k=70)
    with pytest.raises(ValueError, match="a new item is read by the language model"):
        moved.add_items({**NEW, "item": ["d", "e", "f"]})
    paths = {"model.source.checkpoint": bert}
    legorec.load(saved, "cpu", paths=paths).add_items({**NEW, "item": ["d", "e", "f"]})
