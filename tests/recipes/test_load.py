"""``legorec.load``: a trained run as an object that scores and recommends."""

from __future__ import annotations

import shutil
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import legorec
import worker
from legorec.data.catalog import Catalog, Tokens
from legorec.data.evaluation import Impressions
from legorec.data.item_text import ItemText
from legorec.data.text import TokenizerChoice
from legorec.recipes.inputs.new_items import catalogs_of
from tests.support.profiles import profile_arguments, write_profile_store
from tests.support.ranking import rank
from tests.support.runs import arguments, finish, write_store

MODELS = ("lego_nrms", "lego_naml", "lego_nrms_id")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A trained run of each model."""
    folder = tmp_path_factory.mktemp("load")
    store = write_store(folder / "store")
    # The cap on histories is below the longest one, so that cutting counts.
    return {
        name: finish(arguments(store, folder / name, model=name, epoch=1, data__history__max_length=4))
        for name in MODELS
    }


@pytest.fixture(scope="module")
def trained(runs):
    return legorec.load(runs["lego_nrms"], device="cpu")


def fields(trained, row: int) -> dict[str, object]:
    """The fields of a known item, as a user would write them."""
    items = trained.data.store.items
    found: dict[str, object] = {"title": items.text("title")[row]}
    for name in ("category", "subcategory"):
        vocabulary = trained.data.store.vocabulary(name)
        found[name] = [vocabulary[value] for value in items.field(name).rows[row]]
    found["category"] = found["category"][0]  # type: ignore[index]
    return found


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fast", [True, False])
def test_scores_are_those_of_the_ranking_pass(runs, model, fast):
    trained = legorec.load(runs[model], device="cpu")
    data = trained.data
    interactions = data.store.interactions("test")
    impressions = Impressions(interactions, data.histories, data.num_items)
    ranked = rank(trained.model, impressions, fast=fast).score
    ids = np.array(list(data.store.items.ids))
    lengths = []
    for row in range(len(impressions)):
        start, stop = data.store.spans[interactions.span[row]]
        history, shown = data.store.histories[start:stop], interactions.candidates[row]
        scores = trained.score(list(ids[history]), list(ids[shown]))
        places = slice(interactions.candidates.offsets[row], interactions.candidates.offsets[row + 1])
        np.testing.assert_allclose(scores, ranked[places], atol=1e-5)
        lengths.append(stop - start)
    assert min(lengths) == 0 and max(lengths) > 4


def test_recommendations_are_in_the_order_of_the_scores(trained):
    history, ids = ["i3", "i7"], list(trained.data.store.items.ids)
    found = trained.recommend(history, k=len(ids))
    assert len(found) == len(ids) - 2 and not {each.item for each in found} & set(history)
    scores = dict(zip(ids, trained.score(history, ids), strict=True))
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    for each in found:
        assert each.score == pytest.approx(scores[each.item], abs=1e-5)
    assert trained.recommend(history, k=5) == found[:5]
    everything = trained.recommend(history, k=1000, include_history=True)
    assert {each.item for each in everything} == set(ids)


def test_what_was_clicked_before_the_cap_is_left_out_too(trained):
    history = [f"i{number}" for number in range(20)]
    found = {each.item for each in trained.recommend(history, k=60)}
    assert len(found) == 40 and not found & set(history)
    np.testing.assert_array_equal(trained.score(history, ["i30"]), trained.score(history[-4:], ["i30"]))


@pytest.mark.parametrize("model", ["lego_nrms", "lego_naml"])
def test_a_new_item_with_the_fields_of_a_known_one_has_its_vector(runs, model):
    trained = legorec.load(runs[model], device="cpu")
    ids = list(trained.data.store.items.ids)
    new = [fields(trained, row) for row in range(len(ids))]
    torch.testing.assert_close(trained._known_or_new(new).vectors, trained.item_vectors, atol=1e-6, rtol=0)
    mixed = trained.score([new[3], ids[4]], [ids[5], new[6]])
    np.testing.assert_allclose(mixed, trained.score(ids[3:5], ids[5:7]), atol=1e-6)


def test_r19_an_empty_history_and_an_item_without_fields_are_finite(trained):
    assert np.isfinite(trained.score([], ["i1", "i2", {}, {"title": ""}])).all()
    assert np.isfinite(trained.score([{}], ["i1"])).all()
    assert len(trained.recommend([], k=3)) == 3
    assert trained.score(["i1"], []).shape == (0,)


def test_an_unknown_category_is_left_out(trained):
    known, unknown = trained._known_or_new(
        [{"title": "w1 w2"}, {"title": "w1 w2", "category": "of no item"}]
    ).vectors
    assert torch.equal(known, unknown)


@pytest.mark.parametrize(
    ("history", "candidates", "message"),
    [
        (["i1", "nobody"], ["i2"], "1 of 2 items are not in .*, first 'nobody'; give an item that is new as"),
        (["i1"], ["i2", "nobody", "x"], "2 of 3 items are not in .*, first 'nobody'"),
        (["i1"], [{"titel": "w1"}], "a new item has the field 'titel'; the model reads title, category"),
        (["i1"], [{"title": 7}], "the field 'title@words' of a new item must be a text, got 7"),
        (["i1"], [{"subcategory": [3]}], "'subcategory' of a new item must be a text or a list of texts"),
        ([17], ["i2"], "an item of `history` is a raw id .a text. or a mapping of fields, got 17"),
        ("i1", ["i2"], "`history` must be a list of items, got the text 'i1'"),
        (["i1"], "i2", "`candidates` must be a list of items, got the text 'i2'"),
    ],
)
def test_what_cannot_be_scored_is_a_message(trained, history, candidates, message):
    with pytest.raises(ValueError, match=message):
        trained.score(history, candidates)


def test_a_column_of_a_data_frame_is_read_in_its_order(trained):
    pandas = pytest.importorskip("pandas")
    history, candidates = ["i5", "i6", "i7"], ["i1", "i2", "i3"]
    wanted = trained.score(history, candidates)
    for index in ([2, 0, 1], [7, 9, 11], ["a", "b", "c"]):
        clicked, shown = (pandas.Series(each, index=index) for each in (history, candidates))
        np.testing.assert_array_equal(trained.score(history, shown), wanted)
        np.testing.assert_array_equal(trained.score(clicked, candidates), wanted)
        assert trained.recommend(clicked, k=3) == trained.recommend(history, k=3)
    for other in (tuple, np.array, iter):
        np.testing.assert_array_equal(trained.score(history, other(candidates)), wanted)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"i1", "i2"}, "a list of items in an order, got a set"),
        ({"i1": 1}, "a list of items in an order, got a dict"),
        (b"i1", "a list of items, got the text b'i1'"),
        (np.array([["i1"], ["i2"]]), "a list of items in an order, got a ndarray"),
        (3, "a list of items, got 3"),
        (None, "a list of items, got None"),
        ([17], "or a mapping of fields, got 17; as a raw id it is '17'"),
        ([1.5], "or a mapping of fields, got 1.5$"),
        ([None], "or a mapping of fields, got None$"),
    ],
)
def test_what_has_no_order_or_no_id_is_refused_by_name(trained, given, message):
    for ask in (
        lambda: trained.score(given, ["i1"]),
        lambda: trained.score(["i1"], given),
        lambda: trained.recommend(given),
    ):
        with pytest.raises(ValueError, match=message):
            ask()


@pytest.mark.parametrize("user", [7, 1.5, ["u1"], b"u1"])
def test_a_user_is_a_raw_id(trained, user):
    with pytest.raises(ValueError, match="`user` is a raw id .a text. or None, got "):
        trained.score(["i1"], ["i2"], user=user)


def test_k_and_history_of_a_recommendation_are_checked(trained):
    with pytest.raises(ValueError, match="`k` must be at least 1, got 0"):
        trained.recommend(["i1"], k=0)
    for wrong in (2.5, "3", None, True):
        with pytest.raises(ValueError, match=f"`k` must be a whole number, got {wrong!r}"):
            trained.recommend(["i1"], k=wrong)
    with pytest.raises(ValueError, match="first 'nobody'"):
        trained.recommend(["nobody", "i1", "i2", "i3", "i4"])


def test_a_model_of_ids_takes_no_new_items(runs):
    trained = legorec.load(runs["lego_nrms_id"], device="cpu")
    with pytest.raises(ValueError, match="IdsSource reads item ids alone; it cannot encode a new item"):
        trained.score(["i1"], [{"title": "w1"}])


def test_what_is_no_trained_run_is_refused(runs, tmp_path):
    with pytest.raises(ValueError, match="is not the folder of a run"):
        legorec.load(tmp_path)
    shutil.copytree(runs["lego_nrms"], tmp_path / "run")
    (weights,) = (tmp_path / "run").rglob("weights.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match="was altered"):
        legorec.load(tmp_path / "run", device="cpu")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(ValueError, match="holds no complete checkpoint"):
        legorec.load(tmp_path / "run", device="cpu")


def test_the_run_of_a_test_leads_to_what_it_loaded(runs, tmp_path):
    store = runs["lego_nrms"].parents[3] / "store"
    flags = {"data__history__max_length": 4, "load": runs["lego_nrms"]}
    tested = finish(arguments(store, tmp_path, exp="test", **flags))
    vectors = legorec.load(tested, device="cpu").item_vectors
    assert torch.equal(vectors, legorec.load(runs["lego_nrms"], device="cpu").item_vectors)


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    """A trained run whose items have a price, all but some."""
    folder = tmp_path_factory.mktemp("priced")
    store = write_profile_store(folder / "tables")
    return legorec.load(finish(profile_arguments(store, folder / "runs", epoch=1)), device="cpu")


def priced_fields(trained, row: int) -> dict[str, object]:
    """The fields of a known item, as a user would write them."""
    items, found = trained.data.store.items, {}
    for name in ("category", "tags"):
        vocabulary = trained.data.store.vocabulary(name)
        found[name] = [vocabulary[value] for value in items.field(name).rows[row]]
    price = items.field("price").rows[row]
    found |= {"category": found["category"][0], "title": items.text("title")[row]}
    return found | ({"price": float(price[0])} if len(price) else {})


def test_a_new_item_with_the_numbers_of_a_known_one_has_its_vector(priced):
    count = len(priced.data.store.items)
    new = [priced_fields(priced, row) for row in range(count)]
    assert 0 < sum("price" in item for item in new) < count
    torch.testing.assert_close(priced._known_or_new(new).vectors, priced.item_vectors, atol=1e-6, rtol=0)
    # Alone, an item is the mean of its company: only the mean and deviation of the store place it.
    torch.testing.assert_close(priced._known_or_new(new[:1]).vectors[0], priced.item_vectors[0])


def test_a_number_of_a_new_item_counts(priced):
    prices = [None, 1, np.float32(9.5), np.int64(30), Fraction(1, 3)]
    vectors = priced._known_or_new([{"title": "w1", "price": price} for price in prices]).vectors
    assert vectors.isfinite().all() and len(vectors.unique(dim=0)) == len(prices)
    without = priced._known_or_new([{"title": "w1"}]).vectors
    torch.testing.assert_close(vectors[0], without[0])


@pytest.mark.parametrize("price", ["9.5", True, [1.0], float("nan"), float("inf"), 1e39, 10**400, 1j])
def test_what_is_no_number_is_a_message(priced, price):
    with pytest.raises(ValueError, match="the field 'price' of a new item must be a finite number, got "):
        priced.score(["i1"], [{"price": price}])


def test_a_number_in_a_template_is_written_as_that_of_a_known_item(priced):
    store = priced.data.store
    letters = TokenizerChoice("chars").build(iter(["0123456789.e+-, t"]))
    catalog = Catalog.from_text(store, text := ItemText("{price} {tags}", letters, "chars"))
    data: Any = SimpleNamespace(store=store, catalogs=[catalog])

    def tokens(items: list[dict[str, Any]]) -> Tokens:
        (fresh,) = catalogs_of(data, items)
        return fresh.tokens(torch.arange(len(items)))

    every = [priced_fields(priced, row) for row in range(len(store.items))]
    new = [{name: value for name, value in item.items() if name in ("price", "tags")} for item in every]
    known = catalog.tokens(torch.arange(len(new)))
    found = tokens(new)
    assert torch.equal(found.lengths, known.lengths) and torch.equal(found.ids, known.ids)
    assert tokens([{"price": 0}]).ids.tolist() == text.of([{"price": "0"}]).values.tolist()
    for wrong, message in [
        ({"price": "dear"}, "'price' of a new item must be a finite number, got 'dear'"),
        ({"tags": 7}, "'tags' of a new item must be a text or a list of texts, got 7"),
    ]:
        with pytest.raises(ValueError, match=message):
            tokens([wrong])


def test_items_are_scored_in_pages(trained, monkeypatch):
    ids = list(trained.data.store.items.ids)
    whole = trained.score(["i1", "i2"], ids)
    monkeypatch.setattr("legorec.recipes.trained_recommender.CELLS", 7)
    np.testing.assert_allclose(trained.score(["i1", "i2"], ids), whole, atol=1e-6)
    assert trained.score(["i1"], []).shape == (0,)


def test_a_run_of_before_is_loaded_as_it_was_meant(tmp_path, capsys):
    """NAML rectified its views before this could be chosen; the weights would fit the other form too."""
    store = write_store(tmp_path / "store")
    common = (store, tmp_path / "runs", "lego_naml")
    run = finish(arguments(*common, epoch=1, model__item_encoder__rectified=True))
    expected = legorec.load(run, device="cpu").score(["i3", "i7"], ["i1", "i2"])
    file = run / "settings.yaml"
    text = file.read_text().partition("\n")[2]
    assert "rectified: true" in text
    file.write_text("".join(line for line in text.splitlines(True) if "rectified" not in line))
    found = legorec.load(run, device="cpu")
    np.testing.assert_array_equal(found.score(["i3", "i7"], ["i1", "i2"]), expected)
    argv = arguments(store, tmp_path / "runs", "lego_naml", "test", load=run)
    assert worker.main(argv) == 2
    said = "was trained with model.item_encoder.rectified True, asked for is False"
    assert said in capsys.readouterr().err
    assert worker.main([*argv, "--model.item_encoder.rectified", "true"]) == 0
