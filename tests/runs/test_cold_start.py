"""What training never met has finite scores: users, items, histories and texts, through whole runs (R19)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

import legorec
import worker
from legorec.data.store import Store
from legorec.data.text import TokenizerChoice
from legorec.data.tokenizations import add_tokenization
from legorec.data.writing.writer import StoreWriter
from tests.support.language_runs import language_arguments, write_language_model
from tests.support.runs import COLUMNS, ROOT, WORDS, arguments, finish, small_flags

KNOWN = [f"i{number}" for number in range(24)]
# In no impression of training: without a text, of white space, of words and categories that training has not,
# and one like all others.
EMPTY, BLANK, FOREIGN, NEW = COLD = ["empty", "blank", "foreign", "new"]
HISTORIES = [[], [EMPTY], [EMPTY, BLANK], COLD, ["i1", EMPTY, "i2"], KNOWN[:12]]
SHOWN = [COLD, [EMPTY], KNOWN[:3], ["i3", FOREIGN, BLANK]]
USERS = ["u1", "stranger"]  # known to training, and not
# Items are encoded and histories ranked one by one, so that some batches hold nothing but what is empty.
SMALL = {
    **{"hidden_size": 16, "embed_hidden_size": 16, "heads": 4, "epoch": 1, "batch_size": 16, "patience": 9},
    **{"page_size": 1, "eval_batch_size": 1},
}
Arguments = Callable[..., list[str]]  # the folder of runs, exp and more flags -> a command line


def write_cold_store(path: Path) -> Path:
    """Held out, each user meets each of the candidates behind each of the histories."""
    rng = np.random.default_rng(0)
    count = range(len(KNOWN))
    items = {
        "id": KNOWN + COLD,
        "title": [" ".join(rng.choice(WORDS[:30], 5)) for _ in count] + ["", "   ", "zz yy xx", "w1 w2"],
        "category": [f"c{number % 3}" for number in count] + [None, "", "c9", "c1"],
        "subcategory": [[f"s{number % 4}"] for number in count] + [None, [], ["s9"], ["s1"]],
    }
    train = [
        (f"u{number % 8}", list(rng.choice(KNOWN, number % 5)), list(rng.choice(KNOWN, 4, replace=False)))
        for number in range(80)
    ]
    held = [(user, history, shown) for user in USERS for history in HISTORIES for shown in SHOWN]
    with StoreWriter(path, {"processor": "cold"}, [TokenizerChoice("words")]) as writer:
        writer.items(pl.DataFrame(items), COLUMNS)
        for split, rows in (("train", train), ("dev", held[::7]), ("test", held)):
            frame = pl.DataFrame(rows, schema=["user", "history", "candidates"], orient="row")
            labels = [[1] + [0] * (len(shown) - 1) for *_, shown in rows]
            writer.impressions(split, frame.with_columns(labels=pl.Series(labels)))
    return path


@pytest.fixture(scope="module")
def cold(tmp_path_factory) -> Path:
    path = write_cold_store(tmp_path_factory.mktemp("cold") / "store")
    items = Store.open(path).items
    rows, titles = items.index(COLD), items.field("title@words").rows
    assert not items.visible[rows].any() and items.visible.sum() == len(KNOWN)
    assert titles.lengths[rows].tolist() == [0, 0, 3, 2] and not titles[rows[2]].any()
    return path


def without_epoch(flags: dict[str, Any], exp: str) -> dict[str, Any]:
    """The flags, without `epoch` where it names the epoch of a run that is loaded."""
    return flags if "epoch" in small_flags(exp) else {key: flags[key] for key in flags.keys() - {"epoch"}}


def run_through(argv: Arguments, folder: Path, train: str) -> None:
    """Train, test, and predict all that can be asked for: every number is finite."""
    run = finish(argv(folder / "train", train))
    metrics = json.loads((run / "metrics.json").read_text())["test"]["metrics"]
    assert metrics and np.isfinite(list(metrics.values())).all()
    assert pl.read_csv(run / "epochs.csv")["loss"].is_finite().all()
    of_split = scores(finish(argv(folder / "split", "predict", load=run)))
    assert len(of_split) == len(USERS) * len(HISTORIES) * sum(map(len, SHOWN)) and of_split.is_finite().all()
    best = scores(finish(argv(folder / "best", "predict", load=run, top_k=50)))
    assert len(best) > 20 and best.is_finite().all()
    rows = [("nobody", NEW, ""), ("nobody", EMPTY, EMPTY), ("stranger", "i1", f"{BLANK} {FOREIGN}")]
    pairs = pl.DataFrame(
        [*rows, ("u1", "of no table", "i1")], schema=["user", "item", "history"], orient="row"
    )
    pairs.write_csv(folder / "pairs.csv")
    asked = argv(folder / "asked", "predict", load=run, pairs=folder / "pairs.csv", max_missing=1)
    *found, unknown = scores(finish(asked)).to_list()
    assert np.isfinite(found).all() and unknown is None
    trained = legorec.load(run, device="cpu")
    for history in HISTORIES:
        assert np.isfinite(trained.score(history, KNOWN + COLD)).all()
    if getattr(trained.model.user_encoder, "gives", "vector") != "clicks":
        vectors = finish(argv(folder / "vectors", "export", load=run))
        for name in ("items", "users"):
            assert np.isfinite(load_file(vectors / f"{name}.safetensors")["vectors"]).all()


def scores(run: Path) -> pl.Series:
    return pl.read_parquet(run / "predictions.parquet")["score"]


FEW = ["lego_nrms", "lego_naml_id", "lego_lstur", "lego_din", "lego_miner"]
NAMED = sorted(
    path.stem for path in (ROOT / "config" / "model").glob("[lf]*.yaml") if "llama" not in path.stem
)
ALL = [name for name in NAMED if name in FEW or not name.endswith("_id")]


@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in ALL]
)
def test_r19_cold_rows_have_finite_scores(cold, tmp_path, model):
    accepted = f"[{', '.join(SMALL)}]"  # what a model does not read does no harm

    def argv(runs: Path, exp: str, **more: Any) -> list[str]:
        chosen = {**SMALL, "exp__accepts": accepted, **more}
        return arguments(cold, runs, model, exp, **without_epoch(chosen, exp))

    run_through(argv, tmp_path, "tt-nrms")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bert-naml", "llama-nrms", "bert-miner"])
@pytest.mark.parametrize("template", ["{title:3}", "[CLS] {title:3} {category:1} [SEP]"])
def test_r19_cold_texts_of_a_language_model_have_finite_scores(tmp_path, model, template):
    """With the first template some items have no token at all, in the cache as well."""
    name = model.partition("-")[0]
    store, folder = (
        write_cold_store(tmp_path / "store"),
        write_language_model(tmp_path / "weights", name).folder,
    )
    add_tokenization(store, "title", TokenizerChoice(name, folder))
    base = (store, folder, tmp_path / "cache")
    text = {"data__text__template": f"'{template}'"}
    whole = {"layer": 0, "lora": 0, "fast_eval": 0, "shard_mb": 1, "embed_hidden_size": 32, **text}
    split = language_arguments(
        *base, tmp_path / "none", model, f"{name}-split", exp__cache__layers="[-1]", **whole
    )
    assert worker.main(split) == 0
    accepted = f"[{', '.join([*SMALL, 'lr', 'item_lr', 'acc_batch', 'epoch_batch'])}]"
    upper = {**SMALL, "layer": 2, "embed_hidden_size": 32, "exp__accepts": accepted, **text}

    def argv(runs: Path, exp: str, **more: Any) -> list[str]:
        return language_arguments(*base, runs, model, exp, **without_epoch({**upper, **more}, exp))

    run_through(argv, tmp_path, "tt-llm")
