"""Items from several sources by the worker: caching, training, resuming, ranking, new items, export, size."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

import legorec
import worker
from legorec.engine.optim import make_optimizer
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.store_data import open_data
from legorec.recipes.size import count, figures
from legorec.settings import read_command_line
from tests.faults.test_resume import send_at
from tests.support.launching import one_thread, shared
from tests.support.named_runs import NamedModels
from tests.support.runs import (
    arguments,
    differences,
    finish,
    last_state,
    only_run,
    refused,
    write_store,
)

UNSEEN = 5  # items at the end of the store that no split names


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four items in five are in training; see ``cold``."""
    return write_store(tmp_path_factory.mktemp("data") / "store", num_train=20)


def command(store: Path, runs: Path, **flags: Any) -> list[str]:
    given = {"ids_lr": 0.02, "ids_least_clicks": 0, "lr": 0.01, "save_every": 1, **flags}
    if given.get("exp", "tt-nrms") != "tt-nrms":
        for flag in ("ids_lr", "lr", "save_every"):
            given.pop(flag)
    return arguments(store, runs, model="joined-naml", **given)


@pytest.fixture(scope="module")
def run(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish(command(store, tmp_path_factory.mktemp("runs")))


def cold(trained: Any) -> np.ndarray:
    """(N,) True for items of no training history and among no training candidates."""
    return ~trained.data.training.seen


def test_an_unseen_item_has_its_words_alone(run: Path) -> None:
    trained = legorec.load(run, device="cpu")
    made, rows = trained.model, torch.from_numpy(np.flatnonzero(cold(trained)))
    assert 0 < len(rows) < trained.data.num_items
    assert torch.equal(made.source.seen, torch.from_numpy(~cold(trained)))
    words = {part.name: part for part in made.item_parts}["words"]
    with torch.no_grad():
        alone = words.item_encoder(words.source(rows))
    torch.testing.assert_close(trained.item_vectors[rows], alone)
    learned = last_state(run).tensors["optimizer"]["source.part_ids.learned/exp_avg_sq"]
    assert not learned[rows].any() and learned.any(1).sum() > 0


def test_items_with_few_clicks_have_their_words_alone(store: Path, tmp_path: Path) -> None:
    made = finish(command(store, tmp_path, ids_least_clicks=2, epoch=1))
    trained = legorec.load(made, device="cpu")
    clicked = trained.data.training.known.counts() >= 2
    assert 0 < clicked.sum() < (~cold(trained)).sum()
    assert torch.equal(trained.model.source.seen, torch.from_numpy(clicked & ~cold(trained)))
    tested = finish(command(store, tmp_path / "test", exp="test", load=made))  # it stands with the weights
    asked, found = (json.loads((folder / "metrics.json").read_text())["test"] for folder in (made, tested))
    assert asked == found


def test_least_clicks_belongs_to_parts_that_learn_single_items(
    store: Path, tmp_path: Path, capsys: Any
) -> None:
    argv = command(store, tmp_path)
    words = ["--model.parts.words.least_clicks", "3"]
    refused([*argv, *words], capsys, "model.parts.words.least_clicks: this part learns no single items")
    bricks = "source: {name: ids, embed_dim: 16}, item_encoder: {name: single, hidden_dim: 16}"
    more = ["--model.parts.more", f"{{{bricks}, least_clicks: 3}}"]
    refused([*argv, *more], capsys, "must share `least_clicks`, got ids 0, more 3")


def test_a_new_item_is_scored_by_its_words(run: Path) -> None:
    trained = legorec.load(run, device="cpu")
    items = trained.data.store.items
    row = int(np.flatnonzero(cold(trained) & (items.field("title@words").rows.lengths > 0))[0])
    fields = {"title": items.text("title")[row]}
    for name in ("category", "subcategory"):
        field = items.field(name)
        values = [trained.data.store.vocabulary(field.vocabulary)[each] for each in field.rows[row]]
        fields[name] = values if field.kind == "categories" else values[0]
    ids = [*items.ids]
    known = trained.score(ids[:3], [ids[row]])
    np.testing.assert_allclose(trained.score(ids[:3], [fields]), known, atol=1e-6)


def test_stopped_and_resumed_equals_straight(
    store: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = command(store, tmp_path)
    with monkeypatch.context() as patch:
        send_at(patch, signal.SIGTERM, 3)
        assert worker.main(argv) == 128 + signal.SIGTERM
    assert worker.main([*argv, "--resume", "true"]) == 0
    assert differences(run, only_run(tmp_path)) == []


def test_ranked_exported_and_predicted_as_trained(store: Path, run: Path, tmp_path: Path) -> None:
    tested = finish(command(store, tmp_path / "test", exp="test", load=run))
    asked, found = (json.loads((folder / "metrics.json").read_text())["test"] for folder in (run, tested))
    assert asked == found
    trained = legorec.load(run, device="cpu")
    exported = finish(command(store, tmp_path / "export", exp="export", load=run))
    vectors = load_file(exported / "items.safetensors")["vectors"]
    torch.testing.assert_close(vectors, trained.item_vectors)
    written = finish(
        command(store, tmp_path / "predict", exp="predict", load=run, pairs="null", top_k="null")
    )
    scores = pl.read_parquet(written / "predictions.parquet")
    assert len(scores) and scores["score"].is_finite().all()


def test_what_a_run_was_joined_of_is_held(store: Path, run: Path, tmp_path: Path, capsys: Any) -> None:
    argv = command(store, tmp_path, exp="test", load=run)
    refused([*argv, "--join", "gate"], capsys, "was trained with model.join.name 'sum', asked for is 'gate'")
    argv += ["--model.parts.words.item_encoder.kernel_size", "5"]
    refused(argv, capsys, "was trained with model.parts.words.item_encoder.kernel_size 3, asked for is 5")


def test_its_size_counts_every_part(store: Path, tmp_path: Path) -> None:
    settings = read_command_line(arguments(store, tmp_path, model="joined-naml", exp="size"))
    found = figures(settings)
    model = build_model(settings, open_data(settings), torch.device("cpu"))
    assert found["parameters"]["total"] == count(model)
    for part in model.item_parts:
        assert found["parameters"][f"parts.{part.name}.source"] == count(part.source)
    alone = {
        name: figures(read_command_line(arguments(store, tmp_path, model=name, exp="size")))["memory"]
        for name in ("lego_naml", "lego_naml_id")
    }
    assert found["memory"]["activations"] > max(each["activations"] for each in alone.values())
    assert make_optimizer(model, lr=0.1).param_groups[0]["lr"] == 0.1


@pytest.mark.slow
def test_two_processes_train_what_one_does(store: Path, tmp_path: Path) -> None:
    with one_thread():
        one = finish(command(store, tmp_path / "one", save_every=0))
        status, out = shared(2, command(store, tmp_path / "two", save_every=0))
    assert status == 0, out
    mine, theirs = (last_state(folder).tensors["weights"] for folder in (one, only_run(tmp_path / "two")))
    assert torch.equal(mine["source.seen"], theirs["source.seen"])
    for name, value in mine.items():
        torch.testing.assert_close(theirs[name].float(), value.float(), rtol=0, atol=2e-3, msg=name)


@pytest.mark.slow
def test_a_language_model_words_and_ids(tmp_path: Path) -> None:
    """Its cache is found and written, its text cut by its own tokenizer, its adapter saved."""
    named = NamedModels(tmp_path)
    run = finish(named.command("joined-bert-naml", epoch=1))
    trained = legorec.load(run, device="cpu")
    assert [part.name for part in trained.model.item_parts] == ["ids", "text", "words"]
    assert trained.data.text is not None and (run / "adapter").is_dir()
    fresh = {"title": "w1 w2", "category": "c1"}
    assert np.isfinite(trained.score([trained.data.store.items.ids[0]], [fresh])).all()
    settings = named.settings("joined-bert-naml", epoch=1)
    size = figures(settings)
    assert size["language_model"]["place"] == "parts.text.source" and len(size["cache"]) == 1
    assert size["memory"]["optimizer"] > 0


@pytest.mark.slow
def test_fields_beside_given_vectors(tmp_path: Path, capsys: Any) -> None:
    named = NamedModels(tmp_path)
    run = finish(named.command("joined-vectors-naml", epoch=1))
    trained = legorec.load(run, device="cpu")
    assert not trained.model.source["vectors"].table.rows.weight.requires_grad
    with pytest.raises(ValueError, match="VectorsSource reads item ids alone; it cannot encode a new item"):
        trained.score([trained.data.store.items.ids[0]], [{"title": "w1"}])
