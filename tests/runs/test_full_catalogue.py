"""Runs that rank the whole catalogue: any family, its baselines, slices, and what reports say of it."""

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
from tests.support.runs import arguments, finish, only_run, refused, write_store

METRICS = "[recall@10, ndcg@10, gauc]"


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "store")


@pytest.fixture(scope="module")
def shown(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ranked the candidates of impressions."""
    runs = tmp_path_factory.mktemp("runs")
    return finish(arguments(store, runs, epoch=1, exp__metrics=METRICS))


def test_a_trained_run_is_measured_among_all_items(shown: Path, store: Path, tmp_path: Path) -> None:
    flags = {"load": shown, "exp__metrics": METRICS, "save_ranking": True, "slices": "{}"}
    found = {}
    for fast in (True, False):
        argv = arguments(store, tmp_path / str(fast), exp="test", candidates="full", fast_eval=fast, **flags)
        found[fast] = finish(argv)
    fast, plain = (json.loads((found[each] / "metrics.json").read_text()) for each in (True, False))
    assert fast["test"]["metrics"] == pytest.approx(plain["test"]["metrics"], abs=1e-4)
    assert {report["among"] for report in (fast["test"], *fast["baselines"].values())} == {"among all items"}
    sampled = json.loads((shown / "metrics.json").read_text())
    assert "among" not in sampled["test"] and fast["test"]["rows"] > sampled["test"]["rows"]
    assert set(sampled["baselines"]) == set(fast["baselines"])
    assert fast["test"]["metrics"]["recall@10"] < sampled["test"]["metrics"]["recall@10"] == 1.0
    parts = fast["test"]["slices"]["popularity"]
    assert sum(part["clicks"] for part in parts.values()) == fast["test"]["groups"] == 24
    saved = pl.read_parquet(found[True] / "test_per_group.parquet")
    assert saved["recall@10"].mean() == pytest.approx(fast["test"]["metrics"]["recall@10"])


def test_the_heading_and_the_digest_tell_them_apart(
    store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = {"epoch": 1, "exp__baselines": "[popularity]", "model": "lego_din"}
    run = finish(arguments(store, tmp_path, candidates="full", **flags))
    assert "test, among all items" in " ".join(capfd.readouterr().out.split())
    assert "candidates of test: all 60 items for 24 impressions" in (run / "run.log").read_text()
    finish(arguments(store, tmp_path / "shown", **flags))
    assert only_run(tmp_path / "shown").name != run.name


def test_a_filter_of_items_cuts_the_corpus_and_generated_items_are_none(store: Path, tmp_path: Path) -> None:
    rules = "[{item_field: category, only: [c0, c1], splits: [test]}]"
    flags = {"epoch": 1, "exp__baselines": "[random]", "data__filters": rules, "mask_history": False}
    run = finish(arguments(store, tmp_path, candidates="full", **flags))
    report = json.loads((run / "metrics.json").read_text())["test"]
    category = Store.open(store).items.field("category")
    names = Store.open(store).vocabulary("category")
    inside = np.isin(category.rows.values, [names.index(name) for name in ("c0", "c1")]).sum()
    assert report["rows"] == report["groups"] * inside


def test_a_prompted_model_ranks_all_items_by_its_own_scorer(tmp_path: Path) -> None:
    path = tmp_path / "marked"
    store = prompted.marked_store(path, num_users=6, examples=1)
    flags = {"exp__metrics": "[gauc, recall@5]", "exp__evaluation__metric": "gauc", "candidates": "full"}
    run = finish(prompted.arguments(path, tmp_path / "runs", exp__baselines="[popularity]", epoch=1, **flags))
    report = json.loads((run / "metrics.json").read_text())["test"]
    clicks = int(store.interactions("test").labels.sum())
    assert report["groups"] == clicks and report["group_by"] == "impression"


def test_pooled_metrics_are_refused_before_training(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(arguments(store, tmp_path, candidates="full", exp__metrics="[auc]"), capsys, "pooled")
