"""Requests are what a service would get, and their answers what ``rank`` would score."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import worker
from legorec.engine.run_folder import best_checkpoint
from legorec.recipes import latency
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.served import Request
from legorec.recipes.inputs.store_data import Data, open_data
from legorec.recipes.inputs.trained_towers import load_trained
from legorec.recipes.latency import WARM_UP, answer, draw_requests
from legorec.settings import Settings, read_command_line
from tests.support.ranking import rank
from tests.support.runs import arguments, finish, only_run, refused, write_store

FIGURES = {"median_ms", "p95_ms", "p99_ms", "requests_per_second"}


def opened(argv: list[str]) -> tuple[Settings, Data]:
    settings = read_command_line(argv)
    return settings, open_data(settings, ["test"])


def test_a_request_is_an_impression_filled_up_with_drawn_items(store: Path, tmp_path: Path) -> None:
    _, data = opened(arguments(store, tmp_path, exp="latency"))
    shown = data.impressions("test").interactions
    for num_candidates in (1, 3, 20, data.num_items):
        requests = draw_requests(data, len(shown), num_candidates, seed=1)
        rows = np.random.default_rng(1).permutation(len(shown))
        for row, (history, candidates, user, span) in zip(rows.tolist(), requests, strict=True):
            own = shown.candidates[row]
            assert len(set(candidates.tolist())) == len(candidates) == num_candidates
            assert len(set(own.tolist()) & set(candidates.tolist())) == min(len(own), num_candidates)
            expected, mask = data.histories.padded(shown.span[[row]])
            assert np.array_equal(history, expected[mask]) and user == shown.user[row]
            assert span == shown.span[row]


def test_requests_depend_on_the_seed_alone_and_repeat_where_too_few(store: Path, tmp_path: Path) -> None:
    _, data = opened(arguments(store, tmp_path, exp="latency"))
    count = len(data.impressions("test"))
    one, same, other = (draw_requests(data, 2 * count, 20, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(mine[1], its[1]) for mine, its in zip(one, same, strict=True))
    assert any(not np.array_equal(mine[1], its[1]) for mine, its in zip(one, other, strict=True))
    assert [each[2] for each in one[:count]] == [each[2] for each in one[count:]]


def test_answers_are_the_scores_of_rank(store: Path, done: Path, tmp_path: Path) -> None:
    settings, data = opened(arguments(store, tmp_path, exp="latency", load=done))
    model = build_model(settings, data, torch.device("cpu")).eval()
    load_trained(done, model, settings, data)
    impressions = data.impressions("test")
    ranked = rank(model, impressions)
    shown = impressions.interactions
    with torch.inference_mode():
        table = model.encode_items(torch.arange(data.num_items))
        for row in range(len(impressions)):
            history, mask = data.histories.padded(shown.span[[row]])
            shown_items = shown.candidates[row].astype(np.int64)
            request = Request(history[mask], shown_items, int(shown.user[row]))
            expected = ranked.score[ranked.group == row]
            for scores in (answer(model, request, table), answer(model, request)):
                assert np.allclose(scores, expected, atol=1e-5)


def test_a_trained_run_is_timed(
    store: Path, done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finish(arguments(store, tmp_path, exp="latency", load=done, requests=15, candidates=7))
    found = json.loads((run / "metrics.json").read_text())["latency"]
    assert found["trained"] and (found["requests"], found["candidates"]) == (15, 7)
    assert found["items"]["count"] == 60 and found["items"]["seconds"] > 0
    for name in ("item_vectors_at_hand", "items_encoded_on_the_spot"):
        each = found[name]
        assert set(each) == FIGURES
        assert 0 < each["median_ms"] <= each["p95_ms"] <= each["p99_ms"]
        assert each["requests_per_second"] > 0
    out = capsys.readouterr().out
    assert str(best_checkpoint(done)) in out.replace("\n", "") and "untrained" not in out
    assert "requests/s" in out and "7 candidates" in out


def test_without_a_run_it_says_that_the_weights_are_untrained(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert worker.main(arguments(store, tmp_path, exp="latency", requests=2)) == 0
    assert "untrained weights: no --load was given" in capsys.readouterr().out
    assert not json.loads((only_run(tmp_path) / "metrics.json").read_text())["latency"]["trained"]


@pytest.mark.slow
def test_warm_up_is_not_timed(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first requests take long here, and no figure shows it."""
    calls, real = [], latency.answer

    def slow_at_first(*given: Any, item_table: Any) -> Any:
        calls.append(item_table is not None)
        if sum(calls) <= WARM_UP and calls[-1]:
            time.sleep(0.25)
        return real(*given, item_table)

    monkeypatch.setattr(latency, "answer", slow_at_first)
    found = latency.latency(read_command_line(arguments(store, tmp_path, exp="latency", requests=12)))
    assert len(calls) == 2 * (12 + WARM_UP)
    assert found["latency"]["item_vectors_at_hand"]["p99_ms"] < 250


def test_what_cannot_be_timed_is_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = arguments(store, tmp_path, exp="latency", candidates=61)
    refused(argv, capsys, "`exp.latency.candidates` must be at most the 60 items", "got 61")
    _, data = opened(arguments(store, tmp_path, exp="latency"))
    empty = type(data)(data.store, data.catalog, data.histories, data.settings)
    empty.impressions = lambda split: range(0)  # type: ignore[assignment,return-value]
    with pytest.raises(ValueError, match="split 'test' holds no impression"):
        draw_requests(empty, 1, 1, 0)


def test_unlabelled_impressions_can_be_timed(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", labelled=False)
    assert finish(arguments(store, tmp_path / "r", exp="latency", requests=2)).is_dir()
