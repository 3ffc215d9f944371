"""Exported vectors are the model's, and score as it does."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

import worker
from legorec.batch import Ranking
from legorec.data.store import Store
from legorec.engine.stopping import StopRequest
from legorec.recipes.export import KEY
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.store_data import Data, open_data
from legorec.recipes.inputs.trained_towers import load_trained
from legorec.recommender import Recommender
from legorec.settings import read_command_line
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.launching import prepared, shared
from tests.support.ranking import rank
from tests.support.runs import arguments, finish, only_run, refused, run_folders

FILES = {"items.safetensors", "item_ids.parquet", "users.safetensors", "user_ids.parquet"}


def vectors(run: Path, name: str) -> torch.Tensor:
    return load_file(run / f"{name}.safetensors")[KEY]


def ids(run: Path, name: str) -> list[str]:
    return pl.read_parquet(run / f"{name}_ids.parquet")["id"].to_list()


def check(run: Path, argv: list[str], trained: Path) -> None:
    """The files of an export against the model that it came from."""
    settings = read_command_line(argv)
    data = open_data(settings)
    model: Recommender = build_model(settings, data, torch.device("cpu")).eval()
    load_trained(trained, model, settings, data)
    items, users = vectors(run, "items"), vectors(run, "users")
    assert items.dtype == users.dtype == torch.float32
    assert ids(run, "item") == list(data.store.items.ids) and ids(run, "user") == list(data.store.users.ids)
    assert (len(items), len(users)) == (len(data.store.items), len(data.store.users))
    with torch.inference_mode():
        assert torch.allclose(items, model.encode_items(torch.arange(len(items))), atol=1e-6)
        impressions = data.impressions("test")
        ranked: Ranking = rank(model, impressions)
        shown, latest, checked = impressions.interactions, data.latest_spans(), 0
        for row in range(len(impressions)):
            user = int(shown.user[row])
            if shown.span[row] != latest[user]:
                continue
            candidates = items[torch.from_numpy(shown.candidates[row].astype(np.int64))]
            scores = model.score(users[[user]], candidates[None])[0].numpy()
            assert np.allclose(scores, ranked.score[ranked.group == row], atol=1e-5)
            checked += 1
        assert checked > 0


@pytest.mark.parametrize("model", ["lego_nrms", "lego_naml_id"])
def test_vectors_are_those_of_the_model_and_score_as_rank_does(
    store: Path, tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = finish(arguments(store, tmp_path / "trained", model=model, exp="train"))
    argv = arguments(store, tmp_path / "runs", model=model, exp="export", load=trained)
    run = finish(argv)
    check(run, argv, trained)
    assert {path.name for path in run.iterdir()} >= FILES and not list(run.glob("*.tmp-*"))
    found = json.loads((run / "metrics.json").read_text())["export"]
    assert found["items"] == [60, 16] and found["users"] == [20, 16]
    assert 'load_file(path)["vectors"]' in capsys.readouterr().out


@pytest.mark.slow
def test_those_of_a_language_model_too(tmp_path: Path) -> None:
    """With its lower layers in a cache."""
    lm = write_language_model(tmp_path / "bert", "bert").folder
    store = write_language_store(tmp_path / "store", bert=lm)
    places = (store, lm, tmp_path / "cache")
    cached = language_arguments(*places, tmp_path / "r", model="bert-nrms", exp="bert-split")
    assert worker.main([*cached, "--exp.cache.layers", "[-1]"]) == 0
    flags: dict[str, Any] = {"model": "bert-nrms", "layer": -1}
    trained = finish(language_arguments(*places, tmp_path / "trained", exp="train", **flags, epoch=1))
    argv = language_arguments(*places, tmp_path / "runs", exp="export", **flags, load=trained)
    check(finish(argv), argv, trained)


def test_the_size_of_pages_changes_nothing(store: Path, done: Path, tmp_path: Path) -> None:
    runs = []
    for size in (1, 7, 1000):
        pages: dict[str, Any] = {"page_size": size, "eval_batch_size": size}
        runs.append(finish(arguments(store, tmp_path / str(size), exp="export", load=done, **pages)))
    for name in ("items", "users"):
        for run in runs[1:]:
            assert torch.allclose(vectors(run, name), vectors(runs[0], name), atol=1e-6)


def test_the_latest_history_is_that_before_the_last_impression(store: Path, tmp_path: Path) -> None:
    data = open_data(read_command_line(arguments(store, tmp_path, exp="latency")))
    latest, lengths = data.latest_spans(), data.histories.whole().lengths
    for user in range(len(data.store.users)):
        spans: list[int] = []
        for split in ("test", "dev", "train"):
            of_user = data.store.interactions(split)
            spans = spans or of_user.span[of_user.user == user].tolist()
        longest = max((lengths[span] for span in spans), default=0)
        assert latest[user] == -1 if not spans else latest[user] in spans and lengths[latest[user]] == longest


def test_times_decide_where_there_are_any(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_data(read_command_line(arguments(store, tmp_path, exp="latency")))
    tables = {split: data.store.interactions(split) for split in ("train", "dev", "test")}
    for number, table in enumerate(
        tables.values()
    ):  # train is the latest here, its first impression the last
        object.__setattr__(table, "time", np.arange(len(table))[::-1] - 1000 * number)
    train = tables["train"]
    users, first = np.unique(train.user, return_index=True)
    assert np.array_equal(data.latest_spans()[users], train.span[first])
    object.__setattr__(tables["dev"], "time", None)
    assert not np.array_equal(data.latest_spans()[users], train.span[first])


def test_a_user_without_an_impression_has_an_empty_history(
    store: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = np.full(len(Store.open(store).users), -1)
    monkeypatch.setattr(Data, "latest_spans", lambda data: spans)
    run = finish(arguments(store, tmp_path, exp="export", load=done))
    assert torch.equal(vectors(run, "users"), torch.zeros(20, 16))  # what NRMS gives for it
    found = json.loads((run / "metrics.json").read_text())["export"]
    assert found["users_without_history"] == 20


@pytest.mark.parametrize("after", [1, 3, 5])
def test_stopped_it_leaves_none_of_its_files(
    store: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Among the items, at their end, among the users; and the same command goes on."""
    argv = arguments(store, tmp_path, exp="export", load=done, page_size=20, eval_batch_size=10)
    asked = 0
    real = StopRequest.check

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
    assert not FILES & {path.name for path in run.iterdir()} and not (run / "metrics.json").exists()
    assert finish(argv) == run and {path.name for path in run.iterdir()} >= FILES


@pytest.mark.slow
@pytest.mark.parametrize("exp", ["size", "latency", "export"])
def test_of_two_processes_one_works_and_the_other_waits(
    store: Path, done: Path, tmp_path: Path, exp: str
) -> None:
    flags: dict[str, Any] = {} if exp == "size" else {"load": done}
    status, out = shared(2, arguments(store, tmp_path / "two", exp=exp, **flags))
    assert status == 0, out
    assert out.count("NRMS: ") == {"size": 2, "latency": 1, "export": 0}[exp]  # tables, each once
    if exp == "export":
        alone, two = finish(arguments(store, tmp_path / "one", exp=exp, **flags)), only_run(tmp_path / "two")
        assert all((alone / name).read_bytes() == (two / name).read_bytes() for name in FILES)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags", [{"exp": "export"}, {"exp": "predict"}, {"exp": "predict", "top_k": 3}, {"exp": "test"}], ids=str
)
def test_no_process_waits_for_what_another_encodes_alone(store, done, tmp_path, flags):
    code = """
import atexit
from legorec.recommender import Recommender
seen = {"encode_items": 0, "encode_users": 0}
def counted(name):
    real = getattr(Recommender, name)
    def call(self, given):
        seen[name] += len(given) if name == "encode_items" else len(given.mask)
        return real(self, given)
    setattr(Recommender, name, call)
for name in seen:
    counted(name)
atexit.register(lambda: print(f"process {rank}: {seen}", flush=True))
"""
    argv = arguments(store, tmp_path / "two", load=done, eval_batch_size=4, page_size=4, **flags)
    process = prepared(tmp_path, code, 2, argv)
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0, out
    found = [
        [int(number) for number in re.findall(r"_(?:items|users)': (\d+)", line)]
        for line in out.splitlines()
        if re.match(r"process \d: {", line)
    ]
    assert len(found) == 2
    for of_first, of_second in zip(*found, strict=True):
        assert of_second >= of_first / 2 > 0


def test_a_run_is_needed(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(arguments(store, tmp_path, exp="export"), capsys, "--load")


def test_users_that_are_their_clicks_are_refused(tmp_path, store, capsys):
    argv = arguments(store, tmp_path / "runs", model="lego_din_id", exp="export", load=tmp_path)
    refused(argv, capsys, "exp.mode", "'history'", "no vectors but clicks")
