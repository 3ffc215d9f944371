"""A run is found, with all that its settings name by relative paths, from wherever it is read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

import legorec
import worker
from legorec.compose import place_of
from legorec.recipes.outputs.session import sealed
from legorec.settings import Settings, SettingsError, read_command_line
from tests.support.config_files import arguments as plain_arguments
from tests.support.config_files import write_files
from tests.support.runs import arguments, finish, only_run, refused, write_store

STORE, RUNS = Path("data/store"), Path("runs")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project in which a run was trained, and a run that tested it, by relative paths; and some scores."""
    project = tmp_path_factory.mktemp("made") / "project"
    write_store(project / STORE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        run = finish(arguments(STORE, RUNS, epoch=1))
        finish(arguments(STORE, Path("tested"), exp="test", load=run))
        return project, run, scores(run)


def scores(run: Path, **where: object) -> np.ndarray:
    return legorec.load(run, device="cpu", **where).score(["i1", "i2"], ["i3", {"title": "w1"}])


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    """A copy of the project; the current folder is another."""
    shutil.copytree(made[0], tmp_path / "moved" / "project")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    return tmp_path / "moved" / "project"


def test_from_another_folder(made, tmp_path, monkeypatch):
    project, run, wanted = made
    monkeypatch.chdir(tmp_path)
    for each in (project / run, Path(os.path.relpath(project / run))):
        np.testing.assert_array_equal(scores(each), wanted)
    np.testing.assert_array_equal(scores(only_run(project / "tested")), wanted)  # by way of `exp.load`


def test_the_current_folder_may_change_after_the_run_was_loaded(made, tmp_path, monkeypatch):
    project, run, wanted = made
    monkeypatch.chdir(project)
    for where in ({}, {"store": STORE}, {"paths": {"data.store": str(STORE)}}):
        monkeypatch.chdir(project)
        model = legorec.load(run, device="cpu", **where)
        monkeypatch.chdir(tmp_path)
        np.testing.assert_array_equal(model.score(["i1", "i2"], ["i3", {"title": "w1"}]), wanted)


def test_after_all_was_moved_together(made, project, monkeypatch):
    shutil.move(made[0], aside := made[0].with_name("aside"))  # so that it is not found where it was
    try:
        np.testing.assert_array_equal(scores(project / made[1]), made[2])
        np.testing.assert_array_equal(scores(only_run(project / "tested")), made[2])
    finally:
        shutil.move(aside, made[0])


def test_a_run_of_before_is_found_below_the_folder_of_its_store(made, project):
    """Its settings do not say where it was made."""
    file = project / made[1] / "settings.yaml"
    tree = yaml.safe_load(file.read_text())
    assert set(tree.pop("made_in")) == {"folder", "from_here"}
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    np.testing.assert_array_equal(scores(file.parent), made[2])


def test_another_store_of_that_name_in_the_current_folder_is_not_taken(made, project):
    write_store(STORE, seed=1)
    np.testing.assert_array_equal(scores(project / made[1]), made[2])


def test_a_run_that_was_moved_alone_says_what_its_store_was_relative_to(made, project, tmp_path):
    (tmp_path / "archive").mkdir()
    run, store = tmp_path / "archive" / "run", project / STORE
    shutil.move(project / made[1], run)
    np.testing.assert_array_equal(scores(run), made[2])  # still where the run was made
    file = run / "settings.yaml"
    file.write_text(file.read_text().partition("\n")[2].replace(str(made[0]), "/no/such/place"))
    match = (
        "data/store: there is no such folder; .* .'data/store' is relative to /no/such/place, where the run "
        "was made, and is found neither there, nor in the current folder .*notebooks, nor above the run; "
        "name it with "
        r"--data.store PATH, or legorec.load.run, store=...."
    )
    with pytest.raises(ValueError, match=match) as told:
        scores(run)
    assert "\n" not in str(told.value)
    np.testing.assert_array_equal(scores(run, store=store), made[2])
    np.testing.assert_array_equal(scores(run, store=str(store)), made[2])


def test_a_store_that_was_edited_is_told_from_one_that_was_moved(tmp_path):
    store = write_store(tmp_path / "store")
    run = finish(arguments(store, tmp_path / "runs", epoch=1))  # by its absolute path
    store.rename(tmp_path / "aside")
    with pytest.raises(ValueError, match=r"was moved, name it with .*store="):
        scores(run)
    assert len(scores(run, store=tmp_path / "aside")) == 2
    write_store(store, seed=1)
    with pytest.raises(ValueError, match="another store than .*, or it has changed since: '.*' differs"):
        scores(run)
    field = tmp_path / "aside" / "items" / "category.safetensors"
    field.write_bytes(field.read_bytes()[:-1] + b"\1")
    with pytest.raises(ValueError, match="category.safetensors: its content was altered"):
        scores(run, store=tmp_path / "aside")


def test_the_worker_runs_saved_settings_from_anywhere(made, project, capsys):
    file = project / made[1] / "settings.yaml"
    argv = [
        "--settings",
        str(file),
        "--device",
        "cpu",
        "--exp.mode",
        "test",
        "--exp.load",
        str(project / made[1]),
    ]
    assert worker.main([*argv, "--runs", "here"]) == 0
    assert read_command_line(argv[:2]).digest() == made[1].name.rpartition("-")[2]  # as it was made
    again = yaml.safe_load((only_run(Path("here")) / "settings.yaml").read_text())
    assert Path(again["data"]["store"]).samefile(project / STORE)
    np.testing.assert_array_equal(scores(only_run(Path("here"))), made[2])
    shutil.rmtree(project / STORE)
    shutil.move(made[0] / STORE, made[0] / "aside")
    try:
        refused([*argv, "--runs", "gone"], capsys, "'data/store' is relative to", "--data.store PATH")
    finally:
        shutil.move(made[0] / "aside", made[0] / STORE)


def save(settings: Settings, folder: Path) -> Path:
    folder.mkdir(parents=True)
    file = folder / "settings.yaml"
    file.write_text(sealed(settings.to_yaml() + place_of(folder)))
    return file


def test_every_path_of_the_settings_is_found(tmp_path, monkeypatch):
    """Tables, codes, pairs, the loaded run, the language model, its caches and an adapter."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in (
        project,
        elsewhere,
        *(project / each for each in ("store", "lm", "caches", "adapter", "run")),
    ):
        folder.mkdir()
    monkeypatch.chdir(project)
    write_files(project)
    save_file({"codes": torch.zeros(2, 2)}, "codes.safetensors")
    save_file({"table": torch.zeros(2, 2)}, "table.safetensors")
    Path("pairs.csv").write_text("user,item\n")
    given = {
        "data.store": "store",
        "embed.tables": "[{vocabulary: words, path: table.safetensors}]",
        "model.source": "{name: states, checkpoint: lm, cache: caches, layer: -1}",
        "model.item_encoder": "{name: bert, lora: {adapter: adapter}}",
        "exp.mode": "predict",
        "exp.load": "run",
        "exp.predict": "{pairs: pairs.csv}",
    }
    more = [part for place, value in given.items() for part in (f"--{place}", value)]
    settings = read_command_line(plain_arguments(project, *more))
    file = save(settings, project / "runs" / "one")
    monkeypatch.chdir(elsewhere)
    found = read_command_line(["--settings", str(file)])
    assert found.digest() == settings.digest() and found != settings
    paths = [found.data.store, found.embed.tables[0].path, found.exp.load, found.exp.predict.pairs]
    source, encoder = found.model.source.arguments, found.model.item_encoder.arguments
    paths += [source["checkpoint"], source["cache"], encoder["lora"]["adapter"]]
    names = ["store", "table.safetensors", "run", "pairs.csv", "lm", "caches", "adapter"]
    assert paths == [str(project / name) for name in names]
    # What is named by hand begins in the current folder, as ever.
    Path("store").mkdir()
    assert read_command_line(["--settings", str(file), "--data.store", "store"]).data.store == "store"
    shutil.rmtree(project / "lm")
    Path(project / "pairs.csv").unlink()
    with pytest.raises(
        SettingsError, match=r"exp.predict.pairs: 'pairs.csv' is relative to .*project, where"
    ):
        read_command_line(["--settings", str(file)])
    lost = read_command_line(["--settings", str(file), "--exp.predict", "{split: dev}"]).lost
    assert (
        len(lost) == 1
        and lost[0].startswith("'lm' is relative to ")
        and "--model.source.checkpoint" in lost[0]
    )


@pytest.mark.parametrize(
    "block", ["7", "{folder: /x}", "{folder: /x, from_here: 3}", "{folder: '', from_here: a}"]
)
def test_a_place_that_is_none_is_told(tmp_path, block):
    write_files(tmp_path)
    file = tmp_path / "settings.yaml"
    file.write_text(read_command_line(plain_arguments(tmp_path)).to_yaml() + f"made_in: {block}\n")
    with pytest.raises(SettingsError, match="made_in: must be a block {folder: PATH, from_here: PATH}, got "):
        read_command_line(["--settings", str(file)])
