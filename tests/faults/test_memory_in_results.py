"""Whole runs in a memory that is short (R21): they go on to the same files, or end with what to change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

import legorec
from legorec.halving import NoMemoryError
from tests.support.launching import prepared
from tests.support.runs import arguments, contents, finish, last_state, only_run, refused, write_store
from tests.support.short_memory import CUDA, ERRORS, shorten

SAID = re.compile(r"out of memory with (\S+) (\d+); going on with \1 (\d+), which gives the same result")
BATCH, PAGE = "--exp.evaluation.batch_size", "--exp.evaluation.item_page_size"
ITEMS, USERS = (PAGE, "16", "4"), (BATCH, "8", "2")
RESULTS = {".json", ".parquet", ".csv", ".safetensors"}


def results(run: Path) -> dict[str, bytes]:
    found = {name: value for name, value in contents(run).items() if Path(name).suffix in RESULTS}
    assert found
    return found


def lines(text: str) -> list[tuple[str, ...]]:
    """What was said of halving: setting, size before, size that worked."""
    return SAID.findall(text)


@pytest.mark.parametrize(
    ("place", "limit", "flags", "said"),
    [
        ("items", 5, {"exp": "test"}, ITEMS),
        ("users", 3, {"exp": "test"}, USERS),
        ("pairs", 20, {"exp": "test"}, USERS),
        pytest.param("batches", 3, {"exp": "test", "fast_eval": False}, USERS, marks=pytest.mark.slow),
        pytest.param("items", 5, {"exp": "predict", "top_k": 3}, ITEMS, marks=pytest.mark.slow),
        pytest.param("users", 3, {"exp": "predict", "top_k": 3}, USERS, marks=pytest.mark.slow),
        ("pairs", 200, {"exp": "predict", "top_k": 3}, USERS),
        ("items", 5, {"exp": "export"}, ITEMS),
        ("users", 3, {"exp": "export"}, USERS),
    ],
)
def test_r21_the_files_are_those_of_the_smaller_size(
    store: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any,
    place: str, limit: int, flags: dict[str, Any], said: tuple[str, str, str],
) -> None:  # fmt: skip
    with monkeypatch.context() as patch:
        shorten(patch, place, limit)
        run = finish(arguments(store, tmp_path / "short", load=done, **flags))
    assert lines(capsys.readouterr().out) == lines((run / "run.log").read_text()) == [said]
    smaller = {"eval_batch_size" if said[0] == BATCH else "page_size": said[2]}
    asked = finish(arguments(store, tmp_path / "asked", load=done, **flags, **smaller))
    assert results(run) == results(asked)
    assert lines((asked / "run.log").read_text()) == []


def test_r21_fewer_items_of_one_user_are_scored_at_once(store, done, tmp_path, monkeypatch):
    """Where not even all items fit beside one user."""
    flags = {"exp": "predict", "top_k": 3, "load": done}
    whole = finish(arguments(store, tmp_path / "whole", **flags))
    monkeypatch.setattr("legorec.scorers.top_items.CELLS", 240)
    asked = shorten(monkeypatch, "pairs", 40)
    assert_close(finish(arguments(store, tmp_path / "short", **flags)), whole)
    assert min(asked) < 40 < 60 < max(asked)


@pytest.mark.filterwarnings("ignore:out of memory")
@pytest.mark.parametrize("place, limit, flag", [("items", 5, "page_size"), ("users", 2, "eval_batch_size")])
def test_r21_predictions_are_those_of_the_smaller_size(
    store, done, tmp_path, monkeypatch, place, limit, flag
):
    with monkeypatch.context() as patch:
        asked = shorten(patch, place, limit)
        run = finish(arguments(store, tmp_path / "short", exp="predict", load=done))
    assert max(asked) > limit
    smaller = {flag: {"items": 4, "users": 2}[place]}
    other = finish(arguments(store, tmp_path / "asked", exp="predict", load=done, **smaller))
    assert results(run) == results(other)


def test_r21_the_vectors_of_a_latency_run(store, done, tmp_path, monkeypatch, capsys):
    shorten(monkeypatch, "items", 8)
    more = {"requests": 2, "candidates": 2}
    finish(arguments(store, tmp_path, exp="latency", load=done, **more))
    assert lines(capsys.readouterr().out) == [(PAGE, "16", "8")]


def test_r21_evaluation_while_training(store, done, tmp_path, monkeypatch, capsys):
    """Dev after each epoch, and test: each says it once, and the run is the one that had the room."""
    with monkeypatch.context() as patch:
        shorten(patch, "users", 4)
        run = finish(arguments(store, tmp_path))
    assert lines(capsys.readouterr().out) == [(BATCH, "8", "4")] * 3
    assert last_state(run).tensors.keys() == last_state(done).tensors.keys()
    for name, value in last_state(done).tensors["weights"].items():
        assert torch.equal(last_state(run).tensors["weights"][name], value)


@pytest.mark.parametrize(
    "flags",
    [
        {"exp": "test"},
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ({"exp": "export"}, {"exp": "predict", "top_k": 2})
        ),
    ],
)
@pytest.mark.parametrize("place, what", [("items", "row 0 of the items"), ("users", r"row \d+ of the users")])
def test_r21_a_run_that_gives_up_says_so_in_one_line(
    store, done, tmp_path, monkeypatch, capsys, flags, place, what
):
    shorten(monkeypatch, place, 0, ERRORS["cpu"])
    said = "the data layer (`max_length`, `text`), or take a device with more memory"
    refused(arguments(store, tmp_path, load=done, **flags), capsys, "error: out of memory with row", said)
    run = only_run(tmp_path)
    log = (run / "run.log").read_text()
    assert re.search(rf"stopped: out of memory with {what} alone \(\[enforce fail", log)
    assert not (run / "metrics.json").exists()


@pytest.mark.parametrize("model", ["lego_nrms", "lego_din"])
def test_r21_a_loaded_run_scores_and_recommends_the_same(tmp_path, monkeypatch, model):
    """Also where the predictor reads the clicks; it is said once, and the smaller page is kept."""
    store = write_store(tmp_path / "store", num_items=400)
    run = finish(arguments(store, tmp_path / "runs", model=model, epoch=1, exp="train"))
    history, fresh = ["i1", "i2", "i5"], [{"title": f"w{row} w2"} for row in range(9)]
    ids = [f"i{row}" for row in range(400)]

    def found(trained: Any) -> list[np.ndarray]:
        new = [] if trained.model.reads_rows else [trained.score(history, fresh)]
        recommended = [score for _, score in trained.recommend(history, k=20)]
        return [trained.score(history, ids), np.array(recommended), *new]

    monkeypatch.setattr("legorec.recipes.trained_recommender.CELLS", 512)
    wanted = found(legorec.load(run, device="cpu"))
    shorten(monkeypatch, "items", 100)
    asked = shorten(monkeypatch, "pairs", 70)
    trained = legorec.load(run, device="cpu")
    with pytest.warns(UserWarning) as warned:
        for one, other in zip(found(trained), wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    said = [str(each.message) for each in warned]
    assert said[0] == (
        "out of memory with items in pages of 1024; going on with items in pages of 64, which gives the same "
        "result"
    )
    assert len(said) == 2 and "candidates, times clicks where they are read, in pages of 512;" in said[1]
    before = len(asked)
    trained.score(history, ids)
    assert max(asked[before:]) <= 70


def test_r21_a_loaded_run_names_what_does_not_fit(done, monkeypatch):
    trained = legorec.load(done, device="cpu")
    with monkeypatch.context() as patch:
        shorten(patch, "items", 0)
        with pytest.raises(NoMemoryError, match="out of memory with row 0 of the items alone"):
            trained.score(["i1"], ["i2"])
    assert trained.score(["i1"], ["i2"]).shape == (1,)
    patch = monkeypatch.setattr(trained.model.item_encoder, "forward", lambda states: raising(MemoryError()))
    with pytest.raises(NoMemoryError, match="out of memory with new item 0 alone"):
        trained.score([], [{"title": "w1"}])
    shorten(monkeypatch, "pairs", 0)
    with pytest.raises(NoMemoryError, match="out of memory with candidate 0 alone"):
        trained.score(["i1"], ["i2", "i3"])


def raising(error: Exception) -> Any:
    raise error


# In some processes alone; what the others do is the same as ever.
SHORT = f"""
import torch
from legorec.recommender import Recommender
def short(name, size, limit):
    plain = getattr(Recommender, name)
    def failing(self, *given, **named):
        if rank in {{ranks}} and size(*given) > limit:
            raise torch.OutOfMemoryError({CUDA!r})
        return plain(self, *given, **named)
    setattr(Recommender, name, failing)
short("encode_items", len, {{items}})
short("encode_users", lambda clicks: len(clicks.mask), {{users}})
short("encode", lambda batch, table=None: len(batch.labels), {{users}})
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "ranks", "first", "second"),
    [
        ({"exp": "test"}, "(1,)", set(), {ITEMS, USERS}),
        ({"exp": "test"}, "(0, 1)", {ITEMS, USERS}, {ITEMS, USERS}),
        ({"exp": "test", "fast_eval": False}, "(1,)", set(), {USERS}),
        ({"exp": "predict", "top_k": 3}, "(1,)", set(), {ITEMS, USERS}),
        ({"exp": "export"}, "(0, 1)", {ITEMS, USERS}, {ITEMS, USERS}),
    ],
    ids=["fast", "fast, all", "slow", "top_k", "export"],
)
def test_r21_processes_stay_together_where_one_has_to_halve(
    store, done, tmp_path, flags, ranks, first, second
):
    """One of them takes several steps to a page of the others, which wait for it."""
    items = 5 if flags.get("fast_eval", True) else 1000  # else those of one impression are too many, too
    code = SHORT.format(ranks=ranks, items=items, users=3)
    process = prepared(tmp_path, code, 2, arguments(store, tmp_path / "runs", load=done, **flags))
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0, out
    run = only_run(tmp_path / "runs")
    assert_close(run, finish(arguments(store, tmp_path / "alone", load=done, **flags)))
    told = [line for line in out.splitlines() if line.startswith("process 1: ")]
    assert set(lines((run / "run.log").read_text())) == first and set(lines("\n".join(told))) == second
    assert len(lines(out)) == len(first) + len(second)


def assert_close(run: Path, other: Path) -> None:
    """The same files to rounding: pages of other sizes."""
    mine, theirs = results(run), results(other)
    assert mine.keys() == theirs.keys()
    for name in mine:
        if name.endswith(".safetensors"):
            one, two = (load_file(folder / name)["vectors"] for folder in (run, other))
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
        elif name == "predictions.parquet":
            one, two = (pl.read_parquet(folder / name) for folder in (run, other))
            assert one.drop("score").equals(two.drop("score"))
            np.testing.assert_allclose(one["score"], two["score"], rtol=1e-5, atol=1e-6)
        else:
            assert mine[name] == theirs[name], name


@pytest.mark.slow
@pytest.mark.parametrize("exp", ["test", "tt-nrms"])
def test_r21_one_process_without_memory_ends_them_all(store, done, tmp_path, exp):
    """While ranking and while training: told once, and nobody hangs."""
    code = SHORT.format(ranks="(1,)", items=0, users=0)
    loaded = {"load": done} if exp == "test" else {}
    argv = arguments(store, tmp_path / "runs", exp=exp, **loaded)
    out, _ = (process := prepared(tmp_path, code, 2, argv)).communicate(timeout=100)
    assert process.returncode != 0 and out.count("error: out of memory ") == 1
    assert 'Traceback (most recent call last):\n  File "/' not in out
    wanted = "with row" if exp == "test" else "in training at batch 0"
    assert f"error: out of memory {wanted}" in out
