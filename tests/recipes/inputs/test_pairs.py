"""Pairs of a file are scored as ``TrainedRecommender.score`` does, in the order of the file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from legorec.data.text import TokenizerChoice
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter
from legorec.recipes.inputs.pairs import read_pairs
from legorec.recipes.inputs.store_data import Data, open_data
from legorec.recipes.predict import Predictions
from legorec.settings import read_command_line
from tests.recipes.test_predict import opened, predicted
from tests.support.runs import arguments, finish, only_run, refused, run_folders


def write_pairs(file: Path, table: pl.DataFrame) -> Path:
    if file.suffix == ".parquet":
        table.write_parquet(file)
    else:
        table.write_csv(file, separator="\t" if file.suffix == ".tsv" else ",")
    return file


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "pairs.parquet"])
def test_pairs_keep_their_order_and_take_the_latest_history(
    store: Path, done: Path, tmp_path: Path, name: str
) -> None:
    trained, data = opened(done)
    rng = np.random.default_rng(1)
    users = [f"u{number}" for number in rng.integers(0, 20, 50)]
    items = [f"i{number}" for number in rng.integers(0, 60, 50)]
    file = write_pairs(tmp_path / name, pl.DataFrame({"item": items, "user": users}))
    table = predicted(store, tmp_path / "runs", done, pairs=file)
    assert table.columns == ["user", "item", "score", "rank"]
    assert table["user"].to_list() == users and table["item"].to_list() == items
    latest, whole = data.latest_spans(), data.histories.whole()
    for user, item, score, _ in table.iter_rows():
        history, mask = whole.padded(latest[data.store.users.index([user])])
        clicked = data.store.items.ids.take(history[mask])
        assert trained.score(clicked, [item], user=user)[0] == pytest.approx(score, abs=1e-5)
    for each in table.partition_by("user"):
        assert sorted(each["rank"]) == list(range(1, len(each) + 1))


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.parquet"])
@pytest.mark.parametrize("model", ["lego_nrms", "lego_lstur_id"])
def test_a_given_history_is_taken(store: Path, tmp_path: Path, name: str, model: str) -> None:
    run = finish(arguments(store, tmp_path / "trained", model=model, exp="train", epoch=1))
    trained, _ = opened(run)
    histories = [["i1", "i2"], [], ["i3"], ["i1", "i2"], ["i1", "i2"]]
    users, items = ["u1", "u1", "u2", "u3", "u1"], ["i5", "i5", "i6", "i7", "i8"]
    lists = histories if name.endswith(".parquet") else [" ".join(each) for each in histories]
    asked = pl.DataFrame({"user": users, "item": items, "history": lists}, strict=False)
    file = write_pairs(tmp_path / name, asked)
    table = predicted(store, tmp_path / "runs", run, model=model, pairs=file)
    assert table["history"].to_list() == lists
    for user, item, history, score in zip(users, items, histories, table["score"], strict=True):
        assert trained.score(history, [item], user=user)[0] == pytest.approx(score, abs=1e-5)
    alike = [table["rank"][0], table["rank"][4]]  # one user, one history
    assert sorted(alike) == [1, 2] and table["rank"].to_list()[1:4] == [1, 1, 1]


def test_unknown_ids_are_counted_and_refused_above_a_share(
    store: Path, done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("user,item,history\nu1,i1,i2 gone\nnobody,i2,\nu1,lost,i3\nu2,i9,i4\n")
    argv = arguments(store, tmp_path / "runs", exp="predict", load=done, pairs=file)
    refused(
        argv, capsys, "1 of 4 users (pairs.csv) are in no table (25.0%), e.g. 'nobody'",
        "1 of 4 items", "e.g. 'lost'", "1 of 4 clicks", "e.g. 'gone'", "--max_missing",
    )  # fmt: skip
    assert not run_folders(tmp_path / "runs")
    table = predicted(store, tmp_path / "runs", done, pairs=file, max_missing=0.25)
    trained, _ = opened(done)
    given = [(["i2"], "i1"), ([], "i2"), (["i4"], "i9")]
    expected = [trained.score(history, [item])[0] for history, item in given]
    assert (
        table["score"].is_null().to_list() == table["rank"].is_null().to_list() == [False, False, True, False]
    )
    assert np.allclose(table["score"].drop_nulls(), expected, atol=1e-5)
    counts = json.loads((only_run(tmp_path / "runs") / "metrics.json").read_text())["predict"]
    assert [counts[f"unknown_{name}"] for name in ("users", "items", "clicks")] == [1, 1, 1]
    assert counts["without_history"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,itm\nu1,i1\n", "there is no column 'item'; did you mean 'itm'?"),
        ("user,item,histroy\nu1,i1,i2\n", "a column 'histroy' is not known; did you mean 'history'?"),
        ("user,item\n", "it holds no pair"),
        ("user,item\nu1,i1,i2\n", "line 2: it must have 2 columns, got 3"),
        ("user,item\nu1,gone\n", "1 of 1 items (pairs.csv) are in no table"),
    ],
)
def test_files_that_are_no_pairs(
    store: Path, done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    argv = arguments(store, tmp_path / "runs", exp="predict", load=done, pairs=tmp_path / "pairs.csv")
    refused(argv, capsys, "pairs.csv", message)


def test_pairs_of_which_no_item_is_known(
    store: Path, done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pairs.csv").write_text("user,item\nu1,gone\n")
    flags: dict[str, Any] = {"pairs": tmp_path / "pairs.csv", "max_missing": 1}
    argv = arguments(store, tmp_path / "runs", exp="predict", load=done, **flags)
    refused(argv, capsys, "none of its 1 items is in")


def test_no_click_in_any_history(store: Path, done: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("user\titem\thistory\nu1\ti1\t\nu2\ti2\t\n")
    table = predicted(store, tmp_path / "runs", done, pairs=tmp_path / "pairs.tsv")
    trained, _ = opened(done)
    assert np.allclose(table["score"], trained.score([], ["i1", "i2"]), atol=1e-6)


ODD = ["1", "2", "1 2", 'say "no", twice', "[3]"]  # as texts with something between, some would come apart


@pytest.fixture(scope="module")
def odd_ids(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """A store whose ids hold spaces, commas, quotes and brackets."""
    path = tmp_path_factory.mktemp("odd") / "store"
    names = [*ODD, *(f"i{number}" for number in range(20))]
    columns = dict.fromkeys(("id", "title", "category", "subcategory"), names)
    fields = [Column("title", "text"), Column("category", "category"), Column("subcategory", "category")]
    with StoreWriter(path, {}, [TokenizerChoice("words")]) as writer:
        writer.items(pl.DataFrame(columns), fields)
        rows = {"user": ["u 1"], "history": [["i1"]], "candidates": [["i2"]], "labels": [[1]]}
        for split in ("train", "dev", "test"):
            writer.impressions(split, pl.DataFrame(rows))
    return open_data(read_command_line(arguments(path, path.parent / "runs", exp="train")), [])


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.json", "a.csv", "a.tsv", "a.jsonl.gz"])
def test_lists_are_taken_as_they_are_whatever_ids_hold(odd_ids: Data, tmp_path: Path, name: str) -> None:
    histories = [["1 2"], ["1", "2"], [], ODD, ["1 2"]]
    table = pl.DataFrame({"user": ["u 1"] * 5, "item": ["i5"] * 5, "history": histories})
    written, file = table, tmp_path / name
    if name.endswith(("csv", "tsv")):
        written = table.with_columns(history=pl.Series([json.dumps(each) for each in histories]))
        write_pairs(file, written)
    elif name.endswith("parquet"):
        table.write_parquet(file)
    else:
        lines = [json.dumps(row) for row in table.to_dicts()]
        text = f"[{','.join(lines)}]" if name == "a.json" else "\n".join(lines)
        file.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    pairs = read_pairs(file, odd_ids, 0)
    assert pairs.table["history"].to_list() == written["history"].to_list()
    spans, given = pairs.impressions.histories.spans, pairs.impressions.histories.clicks
    found = [odd_ids.store.items.ids.take(given[start:stop]) for start, stop in spans]
    assert found == histories[:4], "the last row has the history of the first"


def test_texts_that_would_come_apart_as_other_ids_are_refused(odd_ids: Data, tmp_path: Path) -> None:
    file = write_pairs(tmp_path / "a.csv", pl.DataFrame({"user": "u 1", "item": "i5", "history": "1 2"}))
    with pytest.raises(
        ValueError, match=r"a\.csv: column 'history' holds lists as texts, split at ' ', and "
    ):
        read_pairs(file, odd_ids, 0)
    printed = pl.DataFrame({"user": "u 1", "item": "i5", "history": "['1' '2']"})
    with pytest.raises(
        ValueError, match=r"a\.csv: line 2: column 'history' holds a list as a program prints"
    ):
        read_pairs(write_pairs(file, printed), odd_ids, 0)


def test_predictions_in_csv_hold_lists_that_can_be_read_again() -> None:
    found = Predictions(pl.DataFrame({"history": [ODD, []], "score": [0.5, 1.0]}))
    lists = found.with_texts().table["history"]
    assert [json.loads(each) for each in lists] == [ODD, []]
