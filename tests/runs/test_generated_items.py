"""Generated items stand in histories: no run draws, ranks, recommends or counts them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import legorec
from legorec.data.clicks import ClickStream
from legorec.data.store import Store
from legorec.recipes.inputs.store_data import Data, open_data
from legorec.recipes.latency import draw_requests
from legorec.settings import read_command_line
from legorec.texts.answers import answers_of
from legorec.texts.merging import Merge, merge
from legorec.texts.schemes import requests_of
from tests.support.runs import arguments, finish, refused, write_store
from tests.support.schemes import INVENTED, scheme
from tests.texts.test_answers import log

TREE = INVENTED | {"answer": {"form": "json", "fields": {"title": {}}}}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store, and the same with an invented item or two for each user who was asked about."""
    folder = tmp_path_factory.mktemp("stores")
    plain, asked = write_store(folder / "plain"), scheme(TREE)
    ids = [each.id for each in requests_of(asked, Store.open(plain))]
    logs = [
        log(folder / "1.jsonl", TREE, *((raw, json.dumps({"title": "w1 w2"})) for raw in ids)),
        log(folder / "2.jsonl", TREE, *((raw, json.dumps({"title": "w3 w4"})) for raw in ids[::2])),
    ]
    answers = answers_of(asked, logs, say=lambda _: None)
    merge(Merge(Store.open(plain), asked, asked.model_dump(), answers), folder / "new")
    return plain, folder / "new"


@pytest.fixture(scope="module")
def data(stores: tuple[Path, Path]) -> Data:
    return open_data(read_command_line(arguments(stores[1], Path("runs"))), ["train", "dev", "test"])


@pytest.fixture(scope="module")
def runs(stores: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run on either store."""
    first, second = (finish(arguments(store, tmp_path_factory.mktemp("runs"), epoch=1)) for store in stores)
    return first, second


def test_they_are_in_the_histories_of_their_users_alone(stores: tuple[Path, Path], data: Data) -> None:
    plain, ids = Store.open(stores[0]), list(data.store.items.ids)
    assert ids[: data.num_real] == list(plain.items.ids) and data.num_items > data.num_real
    users = list(data.store.users.ids)
    for split in ("train", "dev", "test"):
        before, after = plain.interactions(split), data.store.interactions(split)
        holds = 0
        for user, old, new in zip(after.user, before.span, after.span, strict=True):
            clicks = data.store.histories[slice(*data.store.spans[new])]
            real = clicks[clicks < data.num_real]
            assert np.array_equal(real, plain.histories[slice(*plain.spans[old])])
            made = [ids[row].split(":")[1] for row in clicks[clicks >= data.num_real]]
            assert set(made) <= {users[user]}
            holds += bool(made)
        assert before.candidates == after.candidates
        assert holds or split != "train"


def test_none_is_a_negative_or_a_candidate(data: Data) -> None:
    stream = ClickStream(data.training, batch_size=64, num_negatives=8, positives_only=True)
    clicked = 0
    for number in range(30):
        batch = stream.batch(number)
        candidates = batch.items[batch.candidates][batch.candidate_mask]
        clicked += int((batch.items[batch.history][batch.history_mask] >= data.num_real).sum())
        assert int(candidates.max()) < data.num_real
    assert clicked > 0
    assert data.training.eligible.max() < data.num_real
    assert data.training.known.counts()[data.num_real :].sum() == 0
    for split in ("dev", "test"):
        assert data.interactions(split).candidates.values.max() < data.num_real
    settings = read_command_line(arguments(data.store.path, Path("runs"), exp="latency"))
    assert settings.exp.latency is not None
    for _, shown, _, _ in draw_requests(data, 20, data.num_real, seed=1):
        assert shown.max() < data.num_real
    with pytest.raises(ValueError, match=f"at most the {data.num_real} items"):
        draw_requests(data, 20, data.num_items, seed=1)


def test_baselines_and_filters_count_what_they_did(
    stores: tuple[Path, Path], runs: tuple[Path, Path], data: Data
) -> None:
    plain, new = (json.loads((run / "metrics.json").read_text()) for run in runs)
    assert {"popularity", "item_knn"} <= set(plain["baselines"]) == set(new["baselines"])
    for name in ("random", "popularity", "item_knn"):
        assert new["baselines"][name] == plain["baselines"][name]
    rule = ["--data.filters", "[{min_history: 3, max_history: 4}]"]
    lines = []
    for store in stores:
        found = open_data(read_command_line([*arguments(store, Path("runs")), *rule]), ["train", "test"])
        lines.append(found.filtered)
    assert lines[0] == lines[1] and "takes" in lines[0][0]


def test_none_is_recommended(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = legorec.load(runs[1], device="cpu")
    data, ids = trained.data, list(trained.data.store.items.ids)
    made = ids[data.num_real]
    found = trained.recommend([ids[0], made], k=data.num_items)
    assert [each.item for each in found if each.item.startswith("generated:")] == []
    assert len(found) == data.num_real - 1
    assert len(trained.recommend([made], k=99, include_history=True)) == data.num_real
    assert trained.score([made], [ids[0]]).shape == (1,)
    with pytest.raises(ValueError, match=f"`candidates` holds the generated item '{made}'"):
        trained.score([], [ids[0], made])
    store = data.store.path
    top = finish(arguments(store, tmp_path / "top", exp="predict", load=runs[1], top_k=data.num_items))
    table = pl.read_parquet(top / "predictions.parquet")
    assert len(table) and not table["item"].cast(pl.String).str.starts_with("generated:").any()
    pl.DataFrame({"user": ["u1", "u1"], "item": [ids[0], made]}).write_csv(tmp_path / "pairs.csv")
    asked = arguments(store, tmp_path / "pairs", exp="predict", load=runs[1], pairs=tmp_path / "pairs.csv")
    refused(asked, capsys, "its items hold 1 generated ones", "such stand in histories alone")
    out = finish(arguments(store, tmp_path / "out", exp="export", load=runs[1]))
    marked = pl.read_parquet(out / "item_ids.parquet")
    assert marked["generated"].sum() == data.num_items - data.num_real
