"""No name leads out of its folder: of runs, of what a store or a checkpoint consists of (R12)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from legorec.data.store import Store, StoreError
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter
from legorec.engine import checkpoint
from legorec.engine.checkpoint import Checkpoint, CheckpointError
from legorec.engine.run_folder import best_checkpoint
from legorec.files.manifest import MANIFEST, seal
from process import unitok
from tests.support.raw_files import refusal
from tests.support.runs import ROOT, arguments, finish, only_run, refused
from tests.support.small_store import ITEMS, write
from tests.support.unitok_depots import ITEMS as DEPOT
from tests.support.unitok_depots import depots

LEAVING = ["../x", "..", "/tmp/x", "a/b", "a\\b", "C:x"]


@pytest.mark.parametrize("layer", ["data", "embed", "model", "exp"])
@pytest.mark.parametrize("name", [*LEAVING, ".hidden", "two words", "a\nb", "$HOME", "x" * 101, "é" * 51])
def test_r12_names_that_name_no_folder(tmp_path, capsys, layer, name):
    rule = "at most 100 bytes" if len(name) > 50 else "letters, digits and -_.@+=, and not begin with a dot"
    argv = [*arguments(tmp_path / "store", tmp_path / "runs"), f"--{layer}.name={name}"]
    refused(argv, capsys, f"command line --{layer}.name  {layer}.name: must be {rule}", repr(name))
    assert list(tmp_path.iterdir()) == []


def test_r12_a_name_in_a_file_is_told_with_its_line(tmp_path, capsys):
    text = (ROOT / "config" / "model" / "lego_nrms.yaml").read_text()
    file = tmp_path / "slash.yaml"
    file.write_text(re.sub(r"(?m)^name: .*$", "name: lab/NRMS", text))
    shutil.copytree(ROOT / "config" / "model" / "parts", tmp_path / "parts")
    argv = arguments(tmp_path / "store", tmp_path / "runs")
    argv[argv.index("--model") + 1] = str(file)
    refused(argv, capsys, f"{file}:", "model.name: must be letters", "got 'lab/NRMS'")


def test_r12_names_as_long_as_they_may_be_and_of_any_script(store, tmp_path):
    names = {"data__name": "新闻-" + "x" * 93, "model__name": "N@R+M=S,1.0", "exp__name": "e" * 100}
    run = finish(arguments(store, tmp_path, epoch=1, embed__name="m" * 100, **names))
    assert [run.parent.name, run.parent.parent.name] == [names["model__name"], names["data__name"]]


def test_names_that_differ_in_capitals_do_not_share_a_folder(store, tmp_path):
    """Where a disk does not tell capitals, the digest of the settings does."""
    for name in ("NRMS", "nrms"):
        finish(arguments(store, tmp_path / name, epoch=1, model__name=name))
    one, other = (only_run(tmp_path / name).name for name in ("NRMS", "nrms"))
    assert one.lower() != other.lower()


def with_part(folder: Path, change: Callable[[dict[str, Any]], str]) -> Path:
    """The small store with a sealed manifest that was changed, and has the digest of the file it names."""
    write(folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    file = change(manifest)
    manifest["files"][file] = manifest["files"]["histories.safetensors"]
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "histories.safetensors", folder / file)
    (folder / MANIFEST).write_text(json.dumps(seal(manifest)))
    return folder


PARTS: dict[str, Callable[[dict[str, Any], str], object]] = {
    "split": lambda manifest, name: manifest["interactions"].update({name: {}}),
    "field": lambda manifest, name: manifest["items"]["fields"].append({"name": name}),
    "text": lambda manifest, name: manifest["users"]["texts"].append(name),
    "vocabulary": lambda manifest, name: manifest["vocabularies"].append({"name": name}),
    "tokenizer": lambda manifest, name: manifest["tokenizers"].update({name: {}}),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", LEAVING)
def test_r12_a_store_from_elsewhere_whose_parts_lead_out(tmp_path, part, name):
    """Its digests are right: whoever wrote it could write them too."""

    def change(manifest: dict[str, Any]) -> str:
        PARTS[part](manifest, name)
        return "harmless.safetensors"

    folder = with_part(tmp_path / "store", change)
    what = {"text": "field"}.get(part, part)
    with pytest.raises(
        StoreError, match=rf"store/manifest\.json: {what} '{re.escape(name)}(\.text)?' must con"
    ):
        Store.open(folder)
    with pytest.raises(StoreError, match="must consist of"):
        unitok.main(["export", "--store", str(folder), "--out", str(tmp_path / "in" / "depots")])
    assert not (tmp_path / "in").exists()


def test_r12_what_a_store_has_no_digest_of_is_not_read(tmp_path):
    def change(manifest: dict[str, Any]) -> str:
        manifest["interactions"]["more"] = manifest["interactions"]["dev"]
        return "harmless.safetensors"

    folder = with_part(tmp_path / "store", change)
    shutil.copy(folder / "interactions/dev.safetensors", folder / "interactions/more.safetensors")
    with pytest.raises(
        StoreError, match=r"no digest of 'interactions/more\.safetensors', a part of the store"
    ):
        Store.open(folder)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("what", ["vocabulary", "column"])
@pytest.mark.parametrize("name", LEAVING)
def test_r12_a_depot_whose_names_lead_out(tmp_path, capsys, version, what, name):
    """A vocabulary names the file that it is read from, and both name files of the store."""
    columns = {name if what == "column" and key == "title" else key: DEPOT[key] for key in DEPOT}
    argv = depots(tmp_path / "depots", version, items=columns)
    if what == "vocabulary":
        meta = tmp_path / "depots" / "items" / ("meta.data.json" if version == 3 else "meta.json")
        meta.write_text(meta.read_text().replace('"bert"', json.dumps(name)))
    said = refusal(unitok.main, ["import", *argv, "--out", tmp_path / "in" / "store"], capsys)
    assert f"'{name}' must consist of letters, digits" in said
    assert not list((tmp_path / "in").glob("*"))


def test_r12_two_parts_that_would_be_one_file(tmp_path):
    with pytest.raises(StoreError, match="'title.text': the name is taken by a file of the store"):
        Column("title.text", "category")
    with pytest.raises(StoreError, match="'IDS': the name is taken by a file of the store"):
        Column("IDS", "category")
    columns = [Column("title", "text"), Column("Title", "category", "topic")]
    with (
        pytest.raises(StoreError, match="field 'title' is named twice"),
        StoreWriter(tmp_path / "s", {}) as writer,
    ):
        writer.items(ITEMS, columns)


def saved(run: Path, state: dict[str, Any]) -> Path:
    return checkpoint.save(run / "checkpoints", "batch-1", Checkpoint({"weights": {}}, state))


@pytest.mark.parametrize("name", ["../weights.safetensors", "/tmp/weights.safetensors", "a/../../x"])
def test_r12_a_checkpoint_that_names_files_elsewhere(tmp_path, name):
    file = saved(tmp_path, {}) / "manifest.json"
    content = json.loads(file.read_text())
    content["files"][name] = {"bytes": 1, "blake2b": "0"}
    file.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=f"names '{re.escape(name)}', which leads out of the folder"):
        checkpoint.load(file.parent)


@pytest.mark.parametrize("name", ["../../other", "/tmp/other"])
@pytest.mark.parametrize("place", ["best", "kept"])
def test_r12_the_best_checkpoint_is_one_of_the_run(tmp_path, name, place):
    good, bad = {"epoch": 0, "checkpoint": "batch-01"}, {"epoch": 1, "checkpoint": name}
    state = {"best": bad, "kept": []} if place == "best" else {"best": good, "kept": [good, bad]}
    saved(tmp_path / "run", state | {"epochs": [], "progress": {"epoch": 1, "epoch_done": False}})
    with pytest.raises(CheckpointError, match=f"names '{name}', which leads out of the folder"):
        best_checkpoint(tmp_path / "run")
