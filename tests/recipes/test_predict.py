"""Predictions are what ``rank`` and ``recommend`` give, and name what they speak of."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import worker
from legorec.batch import Ranking
from legorec.data.latest import latest_spans
from legorec.data.store import Interactions, Store
from legorec.data.strings import Strings
from legorec.data.writing.writer import StoreWriter
from legorec.engine.stopping import StopRequest
from legorec.recipes.inputs.store_data import Data, open_data
from legorec.recipes.load import load
from legorec.recipes.trained_recommender import TrainedRecommender
from legorec.recommender import Recommender
from legorec.scorers.top_items import best_of, top_items
from legorec.settings import read_command_line
from tests.support.labelled import Labelled
from tests.support.launching import one_thread, shared
from tests.support.ranking import rank
from tests.support.runs import arguments, contents, finish, only_run, refused, run_folders, write_store


def predicted(store: Path, folder: Path, loaded: Path, form: str = "parquet", **flags: Any) -> pl.DataFrame:
    """The table of a run, which leaves no other file of its own."""
    run = finish(arguments(store, folder, exp="predict", load=loaded, **{"format": form, **flags}))
    file = run / f"predictions.{form}"
    assert {path.name for path in run.iterdir()} == {
        file.name, "metrics.json", "run.log", "settings.yaml", ".lock",
    }  # fmt: skip
    found = json.loads((run / "metrics.json").read_text())["predict"]
    read = {"parquet": pl.read_parquet, "csv": pl.read_csv}[form]
    table: pl.DataFrame = read(file)
    assert found["files"] == [file.name] and found["rows"] == len(table)
    return table


def last_histories(data: Data, shown: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """The users of a split and the span of each."""
    spans = latest_spans([shown], data.histories, len(data.store.users))
    users = np.flatnonzero(spans >= 0)
    return users, spans[users]


def opened(run: Path) -> tuple[TrainedRecommender, Data]:
    trained = load(run, device="cpu")
    return trained, trained.data


@pytest.mark.parametrize(
    "form, split",
    [
        ("parquet", "train"),
        ("csv", "dev"),
        ("parquet", "test"),
        *[pytest.param(*each, marks=pytest.mark.slow) for each in (("csv", "train"), ("parquet", "dev"))],
        pytest.param("csv", "test", marks=pytest.mark.slow),
    ],
)
def test_candidates_have_the_scores_of_rank(
    store: Path, done: Path, tmp_path: Path, form: str, split: str
) -> None:
    table = predicted(store, tmp_path, done, form, split=split)
    assert table.columns == ["impression", "user", "item", "score", "rank"]
    trained, data = opened(done)
    impressions = data.impressions(split)
    ranked: Ranking = rank(trained.model, impressions)
    shown = impressions.interactions
    assert np.allclose(table["score"].to_numpy(), ranked.score, atol=1e-6)
    assert np.array_equal(table["impression"].to_numpy(), ranked.group)
    assert table["item"].to_list() == data.store.items.ids.take(shown.candidates.values)
    assert table["user"].to_list() == data.store.users.ids.take(
        np.repeat(shown.user, shown.candidates.lengths)
    )
    for each in table.partition_by("impression"):
        assert sorted(each["rank"]) == list(range(1, len(each) + 1))
        assert each.sort("rank")["score"].is_sorted(descending=True)


@pytest.mark.parametrize("model", ["lego_nrms", "lego_din", "lego_miner", "lego_lstur_id"])
def test_the_best_items_are_those_of_recommend(store: Path, tmp_path: Path, model: str) -> None:
    """Also where the predictor reads the clicks, where a user has interests, and where users are known."""
    run = finish(arguments(store, tmp_path / "trained", model=model, exp="train", epoch=1))
    table = predicted(store, tmp_path / "runs", run, model=model, top_k=5, eval_batch_size=3)
    trained, data = opened(run)
    users, spans = last_histories(data, data.impressions("test").interactions)
    names = data.store.users.ids.take(users)
    assert table["user"].unique(maintain_order=True).to_list() == names and len(table) == 5 * len(users)
    whole = data.histories.whole()
    for user, span in zip(names, spans, strict=True):
        history, mask = whole.padded(np.array([span]))
        clicked = data.store.items.ids.take(history[mask])
        best = trained.recommend(clicked, k=5, user=user)
        found = table.filter(pl.col("user") == user)
        assert found["item"].to_list() == [each.item for each in best]
        assert np.allclose(found["score"], [each.score for each in best], atol=1e-5)
        assert found["rank"].to_list() == [1, 2, 3, 4, 5] and not set(found["item"]) & set(clicked)


def test_where_few_items_are_left_there_are_fewer_rows(store: Path, done: Path, tmp_path: Path) -> None:
    table = predicted(store, tmp_path, done, top_k=1000, split="dev")
    _, data = opened(done)
    users, spans = last_histories(data, data.impressions("dev").interactions)
    history, mask = data.histories.whole().padded(spans)
    clicked = [len(set(row[there])) for row, there in zip(history, mask, strict=True)]
    counts = table.group_by("user", maintain_order=True).len()
    assert counts["user"].to_list() == data.store.users.ids.take(users) and any(clicked)
    assert counts["len"].to_list() == [60 - number for number in clicked]


def test_users_are_taken_by_place(store: Path, done: Path) -> None:
    trained, data = opened(done)
    users, spans = last_histories(data, data.impressions("dev").interactions)
    with torch.no_grad():
        wanted = top_items(trained.model, data.histories, trained.item_vectors, users, spans, 3)
        order = np.argsort(-users)  # labels that are places too, but others
        columns: Any = [Labelled(each.tolist(), order.tolist()) for each in (users, spans)]
        found = top_items(trained.model, data.histories, trained.item_vectors, *columns, 3)
    assert np.array_equal(found.item, wanted.item) and np.array_equal(found.score, wanted.score)
    wrong: Any
    for wrong, message in (
        ("u1", "`users` must be a list of rows, got the text 'u1'"),
        ({1, 2}, "`users` must be a list of rows in an order, got a set"),
        ([1.5], "`users` must be a list of rows .whole numbers., got 1.5 in it"),
        ([None], "`users` must be a list of rows .whole numbers., got None in it"),
        ([1, 2], "`users` and `spans` must be as many, got 2 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            top_items(trained.model, data.histories, trained.item_vectors, wrong, spans[:1], 3)


def test_the_last_history_of_a_split_is_that_of_the_latest_time(store: Path, done: Path) -> None:
    _, data = opened(done)
    shown = data.impressions("train").interactions
    users, spans = last_histories(data, shown)
    assert np.array_equal(users, np.unique(shown.user))
    lengths = data.histories.whole().lengths
    for user, span in zip(users, spans, strict=True):
        own = shown.span[shown.user == user]
        assert span in own and lengths[span] == lengths[own].max()
    timed = type(shown)(**{**vars(shown), "time": -np.arange(len(shown))})
    _, first = np.unique(shown.user, return_index=True)
    assert np.array_equal(last_histories(data, timed)[1], shown.span[first])


def test_the_best_of_ties_are_the_first_in_the_store() -> None:
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.integers(0, 4, (50, 30)).astype(np.float32))
    scores[rng.random((50, 30)) < 0.5] = -torch.inf
    for k in (1, 7, 30):
        items, best = best_of(scores, k)
        order = torch.argsort(scores, dim=1, descending=True, stable=True)[:, :k]
        assert torch.equal(items, order) and torch.equal(best, scores.gather(1, order))
    scores[3, 4] = torch.nan
    assert best_of(scores, 2)[1].isnan().all()


@pytest.mark.parametrize(
    ("flags", "place", "message"),
    [
        ({"pairs": "x.csv"}, "exp.predict.pairs", "no file x.csv"),
        (
            {"pairs": "x.txt"},
            "exp.predict.pairs",
            "must be a file that ends in .csv, .tsv, .jsonl, .json, .parquet, got",
        ),
        ({"pairs": "x.csv", "top_k": 3}, "exp.predict.top_k", "must be null where exp.predict.pairs names"),
        ({"pairs": "x.csv", "split": "dev"}, "exp.predict.split", "names what is scored, got 'dev'"),
        ({"format": "mind", "top_k": 3}, "exp.predict.top_k", "ranks the candidates of a split; got 3"),
        ({"format": "mind", "pairs": "x.csv"}, "exp.predict.pairs", "exp.predict.format is 'mind'"),
        ({"max_missing": 0.1}, "exp.predict.max_missing", "is read with exp.predict.pairs only, got 0.1"),
        ({"top_k": 0}, "exp.predict.top_k", "must be at least 1, got 0"),
        ({"split": "valid"}, "exp.predict.split", "'valid'"),
        ({"exp": "test", "exp.predict": "{}"}, "exp.predict", "is read in mode predict only"),
    ],
)
def test_settings_that_do_not_go_together(
    store: Path,
    done: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: dict[str, Any],
    place: str,
    message: str,
) -> None:
    argv = arguments(store, tmp_path, **{"exp": "predict", "load": done, **flags})
    refused(argv, capsys, place, message)


def test_a_run_is_needed(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(arguments(store, tmp_path, exp="predict"), capsys, "--load")


@pytest.mark.parametrize("flags", [{}, {"top_k": 3, "eval_batch_size": 5}], ids=["candidates", "top_k"])
@pytest.mark.parametrize("after", [1, 3])
def test_stopped_it_leaves_no_file(
    store: Path,
    done: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: dict[str, Any],
    after: int,
) -> None:
    argv = arguments(store, tmp_path, exp="predict", load=done, page_size=40, **flags)
    asked, real = 0, StopRequest.check

    def stop_then(request: StopRequest) -> None:
        nonlocal asked
        asked += 1
        if asked == after:
            signal.raise_signal(signal.SIGINT)
        real(request)

    with monkeypatch.context() as patched:
        patched.setattr(StopRequest, "check", stop_then)
        assert worker.main(argv) == 130
    (run,) = run_folders(tmp_path)
    assert {path.name for path in run.iterdir()} == {"run.log", "settings.yaml", ".lock"}
    assert finish(argv) == run and (run / "predictions.parquet").exists()


def test_scores_that_are_nan_are_refused(
    store: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(Recommender, "score", lambda *given: given[2].sum(2) * torch.nan)
    monkeypatch.setattr(Recommender, "score_all", lambda *given, out: out.fill_(torch.nan))
    for flags in ({}, {"top_k": 3}):
        argv = arguments(store, tmp_path, exp="predict", load=done, **flags)
        refused(argv, capsys, "scores are NaN and cannot be ranked", "--precision fp32")


def test_raw_ids_of_impressions_are_kept(
    store: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Store.interactions

    def with_ids(self: Store, split: str) -> Any:
        found = real(self, split)
        ids = Strings.pack(pl.Series([f"imp-{row}" for row in range(len(found))]))
        return type(found)(**{**vars(found), "ids": ids})

    plain = predicted(store, tmp_path / "plain", done)
    monkeypatch.setattr(Store, "interactions", with_ids)
    named = predicted(store, tmp_path / "named", done)
    assert named["impression"].to_list() == [f"imp-{row}" for row in plain["impression"]]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [{}, {"top_k": 4}, {"format": "mind"}], ids=["split", "top_k", "mind"])
def test_two_processes_write_what_one_does(
    store: Path, done: Path, tmp_path: Path, flags: dict[str, Any]
) -> None:
    status, out = shared(2, arguments(store, tmp_path / "two", exp="predict", load=done, **flags))
    assert status == 0, out
    with one_thread():
        alone = finish(arguments(store, tmp_path / "one", exp="predict", load=done, **flags))
    one, two = contents(alone), contents(only_run(tmp_path / "two"))
    written = [name for name in one if name.startswith("prediction")]
    assert written and all(one[name] == two[name] for name in written)


def test_the_settings_have_defaults(store: Path, done: Path, tmp_path: Path) -> None:
    argv = arguments(store, tmp_path, exp="predict", load=done)
    run = finish([*argv, "--exp.predict", "null"])
    assert len(pl.read_parquet(run / "predictions.parquet")) == len(
        open_data(read_command_line(argv)).impressions("test").group
    )


def test_a_split_without_impressions_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = StoreWriter.impressions
    monkeypatch.setattr(
        StoreWriter,
        "impressions",
        lambda writer, split, frame: real(writer, split, frame.clear() if split == "test" else frame),
    )
    empty = write_store(tmp_path / "store")
    argv = arguments(empty, tmp_path / "runs", exp="predict", load=tmp_path)
    refused(argv, capsys, "split 'test' holds no impression")
