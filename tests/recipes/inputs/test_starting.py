"""``exp.init_from``: training begins with the weights of a run; rows of items and words are matched by id."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import legorec
import worker
from benchmarks.named_models import family
from legorec.data.store import Store
from legorec.engine import checkpoint
from legorec.engine.optim import learned_state
from legorec.engine.run_folder import best_checkpoint
from legorec.recipes.inputs import starting
from legorec.recipes.inputs.starting import owned_weights
from legorec.recipes.tower import tower
from legorec.settings import Settings, SettingsError, read_command_line
from tests.support.grown import NEW, write_grown
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.named_runs import EVERY, NamedModels
from tests.support.runs import ROOT, arguments, finish, refused, write_store

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, and one that has grown and was made anew."""
    folder = tmp_path_factory.mktemp("starting")
    write_grown(write_store(folder / "old"), folder / "new")
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, Path]:
    """A trained run of each model on the old store."""
    models = ("lego_nrms", "lego_nrms_id", "lego_lstur")
    return {
        model: finish(arguments(folder / "old", folder / model, model=model, epoch=1)) for model in models
    }


def read(store: Path, model: str, run: Path | None = None, **flags: Any) -> Settings:
    given = flags if run is None else {**flags, "init_from": run}
    return read_command_line(arguments(store, Path("runs"), model=model, epoch=1, **given))


def started(store: Path, model: str, run: Path, **flags: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The weights that training begins with, and what is said of them."""
    task = tower(read(store, model, run, **flags), CPU)
    said = task.start(run).said
    return {name: value.detach().clone() for name, value in learned_state(task.model).items()}, tuple(said)


def fresh(store: Path, model: str) -> dict[str, Tensor]:
    return dict(learned_state(tower(read(store, model), CPU).model))


@pytest.mark.parametrize("model", ["lego_nrms", "lego_nrms_id", "lego_lstur"])
def test_on_the_same_store_training_begins_where_the_run_ended(
    folder: Path, runs: dict[str, Path], model: str
) -> None:
    found, _ = started(folder / "old", model, runs[model])
    wanted = learned_state(legorec.load(runs[model], "cpu").model)
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_rows_of_items_follow_their_ids(folder: Path, runs: dict[str, Path]) -> None:
    found, said = started(folder / "new", "lego_nrms_id", runs["lego_nrms_id"])
    there, here = Store.open(folder / "old"), Store.open(folder / "new")
    before = learned_state(legorec.load(runs["lego_nrms_id"], "cpu").model)["source.learned"]
    rows, ids = found["source.learned"], list(here.items.ids)
    for raw, row in zip(there.items.ids, before, strict=True):
        assert torch.equal(rows[ids.index(raw)], row)
    new = [ids.index(raw) for raw in NEW]
    assert torch.equal(rows[new], fresh(folder / "new", "lego_nrms_id")["source.learned"][new])
    assert said == ("items: 60 kept, 3 new",)


def test_rows_of_words_and_categories_follow_what_they_spell(folder: Path, runs: dict[str, Path]) -> None:
    found, said = started(folder / "new", "lego_nrms", runs["lego_nrms"])
    before = learned_state(legorec.load(runs["lego_nrms"], "cpu").model)["source.learned"]
    places = [_spelled(Store.open(folder / name)) for name in ("old", "new")]
    assert len(places[0]) == len(before) and len(places[1]) == len(found["source.learned"])
    start = fresh(folder / "new", "lego_nrms")["source.learned"]
    for spelled, row in places[1].items():
        wanted = before[places[0][spelled]] if spelled in places[0] else start[row]
        assert torch.equal(found["source.learned"][row], wanted), spelled
    assert ("category", "opera") in places[1].keys() - places[0].keys()
    assert "category: 4 kept, 1 new" in said and "subcategory: 6 kept, 1 new" in said


def _spelled(store: Store) -> dict[tuple[str, str], int]:
    """The row of each word and category in the table of a model that reads all fields."""
    found: dict[tuple[str, str], int] = {}
    words = sorted(store.tokenizer("words").get_vocab().items(), key=lambda pair: pair[1])
    for name, entries in (
        ("words", [word for word, _ in words]),
        ("category", store.vocabulary("category")),
        ("subcategory", store.vocabulary("subcategory")),
    ):
        found |= {(name, entry): len(found) + place for place, entry in enumerate(entries)}
    return found


def test_rows_of_users_follow_their_ids(folder: Path, runs: dict[str, Path]) -> None:
    found, said = started(folder / "new", "lego_lstur", runs["lego_lstur"])
    before = learned_state(legorec.load(runs["lego_lstur"], "cpu").model)["user_encoder.users"]
    there, here = (list(Store.open(folder / name).users.ids) for name in ("old", "new"))
    assert there != here
    for raw, row in zip(here, found["user_encoder.users"], strict=True):
        assert torch.equal(row, before[there.index(raw)] if raw in there else torch.zeros_like(row))
    assert any(line.startswith("users: 20 kept, 0 new") for line in said)


def test_an_item_that_either_training_saw_counts_as_seen(tmp_path: Path) -> None:
    small = write_store(tmp_path / "small", num_train=4)
    grown = write_grown(small, tmp_path / "grown")
    named = NamedModels(tmp_path)
    every = {"ids_least_clicks": 0}
    run = finish(named.command("joined-naml", data__store=small, epoch=1, **every))
    task = tower(named.settings("joined-naml", data__store=grown, **every), CPU)
    task.learning()
    now = task.model.source.seen.clone()  # type: ignore[union-attr, operator]
    task.start(run)
    there = legorec.load(run, "cpu")
    ids = there.data.store.items.ids
    seen = {raw for raw, each in zip(ids, there.model.source.seen, strict=True) if each}
    wanted = [raw in seen or bool(each) for raw, each in zip(Store.open(grown).items.ids, now, strict=True)]
    assert task.model.source.seen.tolist() == wanted and 0 < len(seen) < 60  # type: ignore[union-attr, operator]


def test_the_run_says_what_it_began_with_and_takes_no_state_of_adam(
    folder: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    run = finish(
        arguments(folder / "new", tmp_path, model="lego_nrms_id", epoch=1, init_from=runs["lego_nrms_id"])
    )
    path = best_checkpoint(runs["lego_nrms_id"])
    digest = checkpoint.weights_digest(path)
    log = (run / "run.log").read_text()
    assert f"training begins with the weights of {path} ({digest[:12]})" in log
    assert "items: 60 kept, 3 new" in log
    noted = json.loads((run / "metrics.json").read_text())["init_from"]
    assert noted == {"run": str(runs["lego_nrms_id"]), "weights": digest}
    saved = checkpoint.load(best_checkpoint(run))
    assert saved.state["inputs"]["starting weights"] == digest
    assert saved.tensors["optimizer"]["source.learned/step"].item() == saved.state["progress"]["step"]
    assert f"init_from: {runs['lego_nrms_id']}" in (run / "settings.yaml").read_text()


def test_other_shapes_and_bricks_are_refused_by_name(folder: Path, runs: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"'\S+' is \(.*\), the model wants \(.*32"):
        started(folder / "old", "lego_nrms", runs["lego_nrms"], hidden_size=32)
    with pytest.raises(
        ValueError, match="trained with model.item_encoder.name 'nrms', asked for is 'cnn_cat'"
    ):
        started(folder / "old", "lego_lstur", runs["lego_nrms"])
    _, said = started(folder / "old", "lego_nrms", runs["lego_nrms"], heads=2)
    assert any("heads: 4 there, 2 here" in line for line in said)


def test_a_brick_that_may_have_rows_and_does_not_say_so_is_refused_where_ids_differ(
    folder: Path, runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Said:
        """What no brick says."""

    monkeypatch.setattr(starting, "HasRows", Said)
    started(folder / "old", "lego_lstur", runs["lego_lstur"])
    with pytest.raises(ValueError, match="model.user_encoder 'lstur' is told `num_users`, and does not say"):
        started(folder / "new", "lego_lstur", runs["lego_lstur"])


def test_rates_are_sought_from_these_weights_too(folder: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    flags = {"model": "lego_nrms_id", "exp": "lr", "steps": 20, "init_from": runs["lego_nrms_id"]}
    run = finish([*arguments(folder / "new", tmp_path, **flags)])
    assert "items: 60 kept, 3 new" in (run / "run.log").read_text()


def test_it_is_read_where_there_is_training_alone(folder: Path, runs: dict[str, Path]) -> None:
    with pytest.raises(SettingsError, match="exp.init_from.*no folder nowhere"):
        read(folder / "old", "lego_nrms", Path("nowhere"))
    argv = arguments(folder / "old", Path("runs"), exp="test", load=runs["lego_nrms"])
    with pytest.raises(SettingsError, match="exp.init_from.*is read in the modes train, train_test, find_lr"):
        read_command_line([*argv, "--exp.init_from", str(runs["lego_nrms"])])


def test_the_store_of_the_run_is_needed_where_ids_differ(
    folder: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    old = write_store(tmp_path / "old")
    run = finish(arguments(old, tmp_path / "runs", model="lego_nrms_id", epoch=1))
    shutil.copytree(old, tmp_path / "copy")
    shutil.rmtree(old)
    started(tmp_path / "copy", "lego_nrms_id", run)  # the same items
    with pytest.raises(ValueError, match="old, which is gone: .*matched by the ids in it"):
        started(folder / "new", "lego_nrms_id", run)
    write_store(old, num_items=50)
    with pytest.raises(ValueError, match=r"is not what it was.*'items/ids.safetensors' has changed since"):
        started(folder / "new", "lego_nrms_id", run)


def test_a_run_goes_on_where_its_start_is_gone_and_not_where_it_is_another(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = finish(arguments(folder / "old", tmp_path / "first", epoch=1))
    argv = arguments(folder / "new", tmp_path / "second", epoch=2, init_from=first)
    straight = finish(argv)
    (straight / "metrics.json").unlink()
    other = finish(arguments(folder / "old", tmp_path / "other", epoch=1, seed=7))
    shutil.move(first, tmp_path / "aside")
    shutil.copytree(other, first)
    refused([*argv, "--resume", "true"], capsys, "'starting weights' differs", "exp.init_from")
    shutil.rmtree(first)
    assert worker.main(["--settings", str(straight / "settings.yaml"), "--runs", str(tmp_path / "second"),
                        "--resume", "true", "--device", "cpu"]) == 0  # fmt: skip
    assert json.loads((straight / "metrics.json").read_text())["init_from"]["weights"]
    # Whoever only reads the run has no need of its start.
    assert legorec.load(straight, "cpu").save(tmp_path / "saved").is_dir()
    assert legorec.evaluate(straight, "dev", device="cpu").settings.exp.init_from is None


@pytest.mark.parametrize("model", ["bert-nrms"])
def test_adapters_of_a_language_model_are_started_from_too(tmp_path: Path, model: str) -> None:
    bert = write_language_model(tmp_path / "bert", "bert").folder
    store = write_language_store(tmp_path / "store", bert=bert)
    places = store, bert, tmp_path / "cache", tmp_path / "runs"
    flags = {"layer": 0, "epoch": 1, "batch_size": 16}
    run = finish(language_arguments(*places, model, "tt-llm", **flags))
    task = tower(read_command_line(language_arguments(*places, model, "tt-llm", **flags)), CPU)
    before = {name: value.clone() for name, value in learned_state(task.model).items()}
    task.start(run)
    wanted = learned_state(legorec.load(run, "cpu").model)
    found = learned_state(task.model)
    adapters = [name for name in found if "lora" in name.lower()]
    assert adapters and any(not torch.equal(before[name], found[name]) for name in adapters)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_stage_may_start_from_the_one_before(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "stages.yaml").write_text(
        "name: next\nstages:\n"
        "- name: first\n  exp: {mode: train, name: first, policy: {epoch: 1, batch_size: 32}}\n"
        "- name: second\n  exp: {mode: train, name: second, init_from: '${stages.first}', "
        "policy: {epoch: 1, batch_size: 32}}\n"
    )
    given = {
        **{"data": ROOT / "config/data/synthetic.yaml", "model": ROOT / "config/model/lego_nrms_id.yaml"},
        **{"exp": tmp_path / "stages.yaml", "runs": tmp_path / "runs", "device": "cpu", "heads": 4},
        **{"stages.first.data.store": folder / "old", "stages.second.data.store": folder / "new"},
        **{"hidden_size": 16, "embed_hidden_size": 16},
    }
    assert worker.main([part for key, value in given.items() for part in (f"--{key}", str(value))]) == 0
    second = next(path for path in (tmp_path / "runs").rglob("run.log") if "second" in str(path))
    assert "items: 60 kept, 3 new" in second.read_text()


def test_from_python_the_model_and_the_fields_are_those_of_the_run(
    folder: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    first = legorec.Run.open(runs["lego_nrms_id"])
    run = legorec.train(folder / "new", init_from=first, runs=tmp_path, epoch=1, batch_size=16, device="cpu")
    assert (
        run.settings.model == first.settings.model and run.settings.data.fields == first.settings.data.fields
    )
    assert run.settings.data.store == str(folder / "new")
    assert run.metrics["init_from"]["run"] == str(first.path)
    again = legorec.train(
        folder / "new", init_from=first.path, runs=tmp_path, epoch=1, batch_size=16, device="cpu"
    )
    assert again.path == run.path and again.seconds is None


WITHOUT_TABLES = [
    name
    for name in EVERY
    if family(name) == "words"
    and not name.startswith(("semantic", "cela-fused"))
    and not any(part in name for part in ("vectors", "gru-bert"))
]


@pytest.mark.parametrize("model", WITHOUT_TABLES)
def test_weights_that_grow_with_a_store_say_whose_their_rows_are(
    folder: Path, tmp_path: Path, model: str
) -> None:
    named = NamedModels(tmp_path)
    models = [tower(named.settings(model, data__store=folder / each), CPU).model for each in ("old", "new")]
    old, new = ({name: value.shape for name, value in learned_state(each).items()} for each in models)
    grown = {name for name in new if new[name] != old[name]}
    owned = dict(owned_weights(models[1]))
    assert grown and grown <= owned.keys()
    for name in owned.keys() & new.keys():
        assert sum(each.size for each in owned[name]) == new[name][0]
