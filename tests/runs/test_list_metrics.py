"""Runs that measure lists: tables, files, slices, and what is refused before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from legorec.data.store import Store
from tests.support import prompted
from tests.support.launching import one_thread
from tests.support.runs import arguments, finish, refused, write_store

NAMES = [f"{kind}@5" for kind in ("coverage", "novelty", "diversity", "vector_diversity", "calibration")]
NAMES.append("popularity_bias@3")
FLAGS = {
    "epoch": 1,
    "candidates": "full",
    "list_category": "category",
    "exp__metrics": f"[gauc, {', '.join(NAMES)}]",
}


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "store")


def test_list_metrics_are_figures_as_any_other(
    store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = finish(
        arguments(
            store, tmp_path, save_ranking=True, slices="{}", exp__baselines="[popularity, random]", **FLAGS
        )
    )
    found = json.loads((run / "metrics.json").read_text())
    reports = {"model": found["test"], **found["baselines"]}
    for report in reports.values():
        assert list(report["metrics"]) == ["gauc", *NAMES]
        assert 5 / 60 <= report["metrics"]["coverage@5"] <= 1 and report["groups"] == 24
        assert 0 <= report["metrics"]["diversity@5"] <= 1 and report["metrics"]["calibration@5"] > 0
        assert report["slices"]["popularity"]["0"]["metrics"].keys() == report["metrics"].keys()
    bias = {name: report["metrics"]["popularity_bias@3"] for name, report in reports.items()}
    assert bias["popularity"] == max(bias.values()) > 1
    assert (
        found["baselines"]["popularity"]["metrics"]["coverage@5"] < reports["random"]["metrics"]["coverage@5"]
    )
    saved = pl.read_parquet(run / "test_per_group.parquet")
    for name in NAMES[1:-1]:
        assert saved[name].mean() == pytest.approx(found["test"]["metrics"][name])
        assert saved[name].null_count() == found["test"]["skipped"][name]
    assert "coverage@5" not in saved.columns
    assert "over the lists of" in " ".join(capfd.readouterr().out.split())
    epochs = pl.read_csv(run / "epochs.csv")
    assert {"novelty@5", "coverage@5"} <= set(epochs.columns)


def test_popularity_recommends_what_most_users_clicked(store: Path, tmp_path: Path) -> None:
    """The novelty of its lists, from counts of the store."""
    flags = FLAGS | {"exp__metrics": "[novelty@4]", "mask_history": False, "exp__baselines": "[popularity]"}
    run = finish(arguments(store, tmp_path, exp__evaluation__metric="novelty@4", **flags))
    opened, train = Store.open(store), Store.open(store).interactions("train")
    pairs = set(zip(np.repeat(train.user, train.candidates.lengths), train.candidates.values, strict=True))
    pairs &= {
        pair
        for pair, label in zip(
            zip(np.repeat(train.user, train.candidates.lengths), train.candidates.values, strict=True),
            train.labels,
            strict=True,
        )
        if label
    }
    for user, span in zip(train.user, train.span, strict=True):
        start, stop = opened.spans[span]
        pairs |= {(user, item) for item in opened.histories[start:stop]}
    counts = np.bincount([item for _, item in pairs], minlength=60)
    users = len({user for user, _ in pairs})
    best = np.sort(counts)[::-1][:4]
    report = json.loads((run / "metrics.json").read_text())["baselines"]["popularity"]
    assert report["metrics"]["novelty@4"] == pytest.approx(np.log2(users / best).mean())


def test_a_prompted_model_has_lists_too(tmp_path: Path) -> None:
    path = tmp_path / "marked"
    prompted.marked_store(path, num_users=6, examples=1)
    flags = {"exp__metrics": "[gauc, coverage@3, novelty@3]", "exp__evaluation__metric": "gauc"}
    run = finish(
        prompted.arguments(path, tmp_path / "runs", exp__baselines="[]", epoch=1, candidates="full", **flags)
    )
    metrics = json.loads((run / "metrics.json").read_text())["test"]["metrics"]
    assert 0 < metrics["coverage@3"] <= 1 and metrics["novelty@3"] >= 0


@pytest.mark.parametrize(
    ("changed", "messages"),
    [
        ({"candidates": "shown"}, ["exp.metrics", "'coverage@5' is about lists", "--candidates full"]),
        (
            {"candidates": "shown", "exp__metrics": "[gauc]", "exp__evaluation__metric": "novelty@5"},
            ["exp.evaluation.metric", "'novelty@5' is about lists"],
        ),
        ({"list_category": "null"}, ["'diversity@5' compares items by a category"]),
        ({"list_category": "title@words"}, ["list_category", "is no category but a text"]),
        ({"list_category": "colour"}, ["there is no field 'colour'"]),
        ({"list_vectors": "given"}, ["list_vectors", "no table of the items"]),
    ],
)
def test_what_cannot_be_measured_is_refused_before_training(
    store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, str],
    messages: list[str],
) -> None:
    refused(arguments(store, tmp_path, **(FLAGS | changed)), capsys, *messages)
    assert not list(tmp_path.rglob("settings.yaml"))
