"""A prompted run is used as any other: loaded, asked for scores and items, and written out as files."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import legorec
from legorec.data.evaluation import Impressions
from legorec.engine.rank import rank
from legorec.recipes.prompted_served import SHARED, WHOLE
from legorec.scorers.yes_no import YesNoScorer
from tests.support.launching import one_thread
from tests.support.prompted import TITLES, arguments, marked_store
from tests.support.runs import finish, refused


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "store"
    marked_store(path, num_users=20, examples=3)
    return path


@pytest.fixture(scope="module")
def run(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish(arguments(store, tmp_path_factory.mktemp("runs"), epoch=1))


@pytest.fixture(scope="module")
def trained(run: Path) -> Any:
    return legorec.load(run, device="cpu")


def clicks_of(trained: Any, impressions: Impressions, row: int) -> tuple[list[str], list[str]]:
    """Raw ids of an impression's history, and how they were marked."""
    data = trained.data
    span = impressions.interactions.span[[row]]
    (history,), (mask,) = data.histories.padded(span)
    (marks,) = data.histories.beside(data.store.marks, span)
    names = data.store.mark_names
    return [data.store.items.ids[item] for item in history[mask]], [names[each] for each in marks[mask]]


def scored(trained: Any) -> np.ndarray:
    """The ranking pass over the test split."""
    return rank(YesNoScorer(trained.model, trained.prompt, trained.data.impressions("test"))).score


def test_scores_are_those_of_the_ranking_pass(trained: Any) -> None:
    data, wanted = trained.data.impressions("test"), scored(trained)
    for row in range(6):
        history, marks = clicks_of(trained, data, row)
        candidates = [trained.data.store.items.ids[each] for each in data.interactions.candidates[row]]
        found = trained.score(history, candidates, marks=marks)
        assert found == pytest.approx(wanted[row : row + 1], abs=1e-5)
    assert len(trained.score(history, [], marks=marks)) == 0
    assert len(trained.score([], ["3"])) == 1


def test_lists_are_scored_as_pairs_are(trained: Any) -> None:
    ids = [str(each) for each in range(len(TITLES))]
    history, marks = ids[:4], ["liked", "disliked", "liked", "liked"]
    together = trained.score(history, ids, marks=marks)
    alone = np.concatenate([trained.score(history, [each], marks=marks) for each in ids])
    assert together == pytest.approx(alone, abs=1e-5) and len(np.unique(together)) > 10
    other = trained.score(history, ids, marks=["disliked"] * 4)
    assert np.abs(other - together).max() > 1e-4, "marks count"
    assert pickle.loads(pickle.dumps(trained)).score(history, ids, marks=marks) == pytest.approx(together)  # noqa: S301


def test_the_best_items_are_those_of_the_scores(trained: Any) -> None:
    ids = [str(each) for each in range(len(TITLES))]
    history, marks = ids[3:6], ["liked", "disliked", "liked"]
    scores = dict(zip(ids, trained.score(history, ids, marks=marks).tolist(), strict=True))
    best = trained.recommend(history, 5, marks=marks)
    left = sorted((each for each in ids if each not in history), key=lambda each: -scores[each])
    assert [each.item for each in best] == left[:5]
    assert [each.score for each in best] == pytest.approx([scores[each] for each in left[:5]], abs=1e-5)
    every = trained.recommend(history, 99, marks=marks, include_history=True)
    assert {each.item for each in every} == set(ids)


def test_a_new_item_is_given_by_its_text(trained: Any) -> None:
    known, history = trained.data.store.items.ids[7], ["1", "2"]
    marks = ["liked", "liked"]
    wanted = trained.score(history, [known], marks=marks)
    assert trained.score(history, [{"name": TITLES[7]}], marks=marks) == pytest.approx(wanted, abs=1e-6)
    told = trained.score(history, ["3"], marks=marks)
    new = trained.score([{"name": TITLES[1]}, "2"], ["3"], marks=marks)
    assert new == pytest.approx(told, abs=1e-6)


@pytest.mark.parametrize(
    ("history", "candidates", "more", "message"),
    [
        (["1"], ["2"], {}, "`marks` is needed, one for each item of `history`"),
        (["1"], ["2"], {"marks": ["loved"]}, "`marks` must be disliked or liked, got 'loved'"),
        (["1"], ["2"], {"marks": []}, "`marks` must be one for each of 1 clicks, got 0"),
        (["1"], ["none"], {"marks": ["liked"]}, "1 of 2 items are not in"),
        ([], [{"title": "x"}], {}, "has the field 'title'; the model reads name"),
        ([], ["1"], {"user": 3}, "`user` is a raw id"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    trained: Any, history: list[str], candidates: list[Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        trained.score(history, candidates, **more)


def test_a_split_and_its_best_items_are_written(run: Path, store: Path, trained: Any, tmp_path: Path) -> None:
    split = finish(arguments(store, tmp_path / "split", exp="predict", epoch="null", load=run))
    table = pl.read_parquet(split / "predictions.parquet")
    assert table["score"].to_numpy() == pytest.approx(scored(trained), abs=1e-5)
    found = finish(arguments(store, tmp_path / "top", exp="predict", epoch="null", load=run, top_k=3))
    best = pl.read_parquet(found / "predictions.parquet")
    assert best["rank"].to_list() == [1, 2, 3] * 20
    data = trained.data.impressions("test")
    stops = trained.data.histories.stops[data.interactions.span]
    for user in range(4):
        own_rows = np.flatnonzero(data.interactions.user == user)
        history, marks = clicks_of(trained, data, own_rows[stops[own_rows].argmax()])
        span = data.interactions.span[[own_rows[stops[own_rows].argmax()]]]
        clicked = trained.data.histories.whole().padded(span)[0][0]  # those before the cut count too
        before = {trained.data.store.items.ids[item] for item in clicked}
        wanted = [
            each.item for each in trained.recommend(history, 20, marks=marks) if each.item not in before
        ]
        assert best.filter(user=trained.data.store.users.ids[user])["item"].to_list() == wanted[:3]


def test_pairs_of_a_file_are_scored(run: Path, store: Path, trained: Any, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("user,item\n0,3\n0,4\n1,3\n")
    found = finish(arguments(store, tmp_path / "runs", exp="predict", epoch="null", load=run, pairs=file))
    table = pl.read_parquet(found / "predictions.parquet")
    assert table["rank"].to_list() in ([1, 2, 1], [2, 1, 1])
    data = trained.data.impressions("test")
    span = trained.data.latest_spans()[[0]]
    (row,) = np.flatnonzero(data.interactions.span == span[0])[:1]
    history, marks = clicks_of(trained, data, row)
    wanted = trained.score(history, ["3", "4"], marks=marks)
    assert table["score"].to_numpy()[:2] == pytest.approx(wanted, abs=1e-5)


def test_a_history_in_a_file_says_no_marks(
    run: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("user,item,history\n0,3,1 2\n")
    argv = arguments(store, tmp_path / "runs", exp="predict", epoch="null", load=run, pairs=file)
    refused(argv, capsys, "the prompt shows which clicks were disliked or liked, which a column `history`")


def test_requests_are_timed_with_and_without_what_they_share(run: Path, store: Path, tmp_path: Path) -> None:
    found = finish(
        arguments(store, tmp_path, exp="latency", epoch="null", load=run, requests=3, candidates=5)
    )
    figures = json.loads((found / "metrics.json").read_text())["latency"]
    assert figures["candidates"] == 5 and "items" not in figures
    assert all(figures[name]["median_ms"] > 0 for name in (SHARED, WHOLE))


def test_there_are_no_vectors_to_export(
    run: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = arguments(store, tmp_path, exp="export", epoch="null", load=run)
    refused(argv, capsys, "must not be 'export' with a model of the family 'prompted'; modes that can: ")
