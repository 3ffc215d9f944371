"""Many histories at once: equal to one call a history, whatever they are given as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import legorec
from legorec.recipes import ranked_histories
from tests.support.profiles import profile_arguments, write_profile_store
from tests.support.runs import arguments, finish, write_store

MODELS = ("lego_nrms", "lego_naml", "lego_din", "lego_miner", "lego_nrms_id")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A trained recommender of each model."""
    folder = tmp_path_factory.mktemp("many")
    store = write_store(folder / "store")
    runs = {
        name: finish(arguments(store, folder / name, model=name, epoch=1, data__history__max_length=4))
        for name in MODELS
    }
    return {name: legorec.load(run, device="cpu") for name, run in runs.items()}


@pytest.fixture(scope="module")
def trained(loaded: dict[str, Any]) -> Any:
    return loaded["lego_nrms"]


def some_histories(count: int = 40, seed: int = 0) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[f"i{item}" for item in rng.integers(0, 60, int(rng.integers(0, 8)))] for _ in range(count)]


def same(found: Any, wanted: Any) -> None:
    """Equal items where scores are apart, and scores that agree."""
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.by == other.by and len(one) == len(other)
        np.testing.assert_allclose([each.score for each in one], [each.score for each in other], atol=1e-6)
        apart = np.diff([each.score for each in other], prepend=np.inf, append=-np.inf) < -1e-5
        clear = apart[:-1] & apart[1:]
        assert [each.item for each, c in zip(one, clear, strict=True) if c] == [
            each.item for each, c in zip(other, clear, strict=True) if c
        ]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("how", [{}, {"include_history": True}, {"filter": {"category": ["c1", "c2"]}}])
def test_many_histories_are_answered_as_each_is(
    loaded: dict[str, Any], model: str, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, histories = loaded[model], some_histories()
    wanted = [trained.recommend(each, 5, **how) for each in histories]
    same(trained.recommend(histories, 5, **how), wanted)
    monkeypatch.setattr(ranked_histories, "PART", 7)
    monkeypatch.setattr(ranked_histories, "BATCH", 3)
    same(trained.recommend(histories, 5, **how), wanted)


def test_a_list_of_one_is_a_list_of_one_answer(trained: Any) -> None:
    (found,) = trained.recommend([["i3", "i7"]], 4)
    same([found], [trained.recommend(["i3", "i7"], 4)])
    assert trained.recommend([[]], 4) == [trained.recommend([], 4)]


def test_a_frame_gives_a_frame(trained: Any) -> None:
    histories = some_histories(9)
    frame = pl.DataFrame({"history": histories}, schema={"history": pl.List(pl.String)})
    found = trained.recommend(frame, 3)
    assert found.columns == ["row", "item", "score", "rank", "by"]
    wanted = trained.recommend(histories, 3)
    for row, each in enumerate(wanted):
        part = found.filter(pl.col("row") == row)
        assert part["item"].to_list() == [one.item for one in each]
        assert part["rank"].to_list() == [1, 2, 3] and set(part["by"]) == {each.by}
    named = trained.recommend(frame.with_columns(user=pl.Series([f"p{n}" for n in range(9)])), 3)
    assert named.columns[0] == "user" and named["user"].to_list() == [f"p{row}" for row in found["row"]]
    assert named.drop("user").equals(found.drop("row"))
    assert trained.recommend(frame.clear(), 3).schema == found.schema


def test_frames_of_pandas_and_columns_of_lists_are_read_too(trained: Any) -> None:
    pandas = pytest.importorskip("pandas")
    histories = some_histories(9)
    frame = pl.DataFrame({"history": histories}, schema={"history": pl.List(pl.String)})
    wanted = trained.recommend(frame, 3)
    assert trained.recommend(pandas.DataFrame({"history": histories}, index=range(9, 0, -1)), 3).equals(
        wanted
    )
    same(trained.recommend(frame["history"], 3), trained.recommend(histories, 3))
    numbers = pl.DataFrame({"history": [[1, 2]], "user": [7]})
    with pytest.raises(ValueError, match="2 of 2 items are not in .*, first '1'"):
        trained.recommend(numbers)


def test_only_what_is_asked_for_is_recommended(trained: Any) -> None:
    histories, ids = some_histories(12), [f"i{n}" for n in range(60)]
    some = ids[5:40]
    for each in [trained.recommend(["i1"], 60, items=some), *trained.recommend(histories, 60, items=some)]:
        assert {one.item for one in each} <= set(some)
    whole = trained.recommend(["i1"], 60)
    left = trained.recommend(["i1"], 60, exclude=some)
    assert [each.item for each in left] == [each.item for each in whole if each.item not in some]
    both = trained.recommend([["i1"]], 60, items=some, exclude=some[:10])
    assert {one.item for one in both[0]} == set(some[10:])
    assert trained.recommend([["i1"], []], 5, items=[]) == [[], []] and trained.recommend([], items=[]) == []


def test_a_filter_is_what_the_store_says(trained: Any) -> None:
    items = trained.data.store.items
    for name, value in (("category", "c2"), ("subcategory", "s3")):
        field, vocabulary = items.field(name), trained.data.store.vocabulary(items.field(name).vocabulary)
        held = {items.ids[row] for row in range(60) if vocabulary.index(value) in field.rows[row]}
        for found in (
            trained.recommend(["i1"], 60, filter={name: value}, include_history=True),
            trained.recommend([], 60, filter={name: [value]}),
        ):
            assert {each.item for each in found} == held and held
    found = trained.recommend(["i1"], 60, filter={"category": ["c0", "c1"], "subcategory": "s1"})
    one = {e.item for e in trained.recommend(["i1"], 60, filter={"category": ["c0", "c1"]})}
    other = {e.item for e in trained.recommend(["i1"], 60, filter={"subcategory": "s1"})}
    assert {e.item for e in found} == one & other


def test_nothing_known_is_answered_by_popularity(trained: Any) -> None:
    clicks = trained.data.training.known.counts()
    found = trained.recommend([], 60)
    assert found.by == "popularity" and [each.score for each in found] == sorted(clicks, reverse=True)
    assert [each.item for each in found] == [f"i{row}" for row in np.argsort(-clicks, kind="stable")]
    one, many = trained.recommend([["i1"], []], 4)
    assert one.by == "model" and many == found[:4] and many.by == "popularity"
    assert trained.recommend(["i1"], 4).by == "model"


def test_a_saved_model_brings_what_is_popular(trained: Any, tmp_path: Path) -> None:
    once = legorec.load(trained.save(tmp_path / "model"), device="cpu")
    twice = legorec.load(once.save(tmp_path / "again"), device="cpu")
    wanted = trained.recommend([], 60)
    for carried in (once, twice):
        found = carried.recommend([], 60)
        assert found == wanted and found.by == "popularity"
        same(carried.recommend(some_histories(), 5), trained.recommend(some_histories(), 5))


def test_a_user_that_the_model_knows_needs_no_history(tmp_path: Path) -> None:
    store = write_profile_store(tmp_path / "tables")
    trained = legorec.load(finish(profile_arguments(store, tmp_path / "runs", epoch=1)), device="cpu")
    user = trained.data.store.users.ids[0]
    known = trained.recommend([], 5, user=user)
    assert known.by == "model" and trained.recommend([], 5, user="nobody").by == "popularity"
    same(
        trained.recommend([[], [], []], 5, users=[user, None, "nobody"]),
        [known, trained.recommend([], 5), trained.recommend([], 5)],
    )
    frame = pl.DataFrame(
        {"user": [user, None], "history": [[], []]}, schema_overrides={"history": pl.List(pl.String)}
    )
    assert trained.recommend(frame, 1)["by"].to_list() == ["model", "popularity"]


def test_new_items_stand_in_histories(trained: Any) -> None:
    new = {"title": "w1 w2", "category": "c1"}
    histories = [["i1", new], [new], ["i3"], [{"title": "w9"}, "i2"]]
    same(trained.recommend(histories, 6), [trained.recommend(each, 6) for each in histories])


def test_unknown_items_are_refused_or_counted(trained: Any) -> None:
    histories = [["i1", "nobody", "i2"], ["nothing"], ["i5"]]
    for given in (histories, histories[0], pl.DataFrame({"history": histories})):
        with pytest.raises(ValueError, match="items are not in .*, first 'nobody'"):
            trained.recommend(given)
    found = trained.recommend(histories, 5, unknown="skip")
    assert [each.skipped for each in found] == [1, 1, 0]
    assert [each.by for each in found] == ["model", "popularity", "model"]
    same(found, [trained.recommend(each, 5) for each in (["i1", "i2"], [], ["i5"])])
    same(found, [trained.recommend(each, 5, unknown="skip") for each in histories])
    with pytest.warns(UserWarning, match="2 clicks on items that are not known were skipped"):
        trained.recommend(pl.DataFrame({"history": histories}), unknown="skip")


@pytest.mark.parametrize(
    ("given", "how", "message"),
    [
        ([["i1"], "i2"], {}, "`histories` must be lists of items, as the first is; number 1 is 'i2'"),
        (["i1", ["i2"]], {}, "an item of `history` is a raw id .* got .'i2'."),
        ([["i1"], [17]], {}, r"an item of `histories\[1\]` is a raw id .* got 17; as a raw id it is '17'"),
        ([["i1"]], {"user": "u1"}, "`user` is of one history; of several, `users` says whose"),
        (["i1"], {"users": ["u1"]}, "`users` is for several histories"),
        ([["i1"]], {"users": ["u1", "u2"]}, "`users` must be one for each of 1 histories, got 2"),
        (pl.DataFrame({"histori": [["i1"]]}), {},
         "needs a column `history` of lists; did you mean 'histori'"),
        (pl.DataFrame({"history": ["i1"]}), {},
         "column `history` must hold lists of raw ids, it holds String"),
        (pl.DataFrame({"history": [["i1"]], "user": ["u"]}), {"users": ["u"]},
         "this frame has a column `user`"),
        (["i1"], {"items": "i2"}, "`items` must be a list of raw ids, got the text 'i2'"),
        (["i1"], {"items": ["i2", "x"]}, "`items` holds 1 items that are not known, first 'x'"),
        (["i1"], {"exclude": ["y"]}, "`exclude` holds 1 items that are not known, first 'y'"),
        (["i1"], {"filter": "c1"}, "`filter` must give categories by field"),
        (["i1"], {"filter": {"categori": "c1"}}, "names the field 'categori', .* did you mean 'category'"),
        (["i1"], {"filter": {"title@words": "w1"}}, "'title@words' is no category but a text"),
        (["i1"], {"filter": {"category": "c9"}}, "'c9' is no category of 'category'; There are: c0"),
        (["i1"], {"unknown": "drop"}, "`unknown` must be 'error' or 'skip', got 'drop'"),
    ],
)  # fmt: skip
def test_what_cannot_be_recommended_is_a_message(trained: Any, given: Any, how: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trained.recommend(given, **how)
