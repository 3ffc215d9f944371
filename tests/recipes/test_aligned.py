"""CELA from settings: a click model, texts aligned to it, and a click model on their table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import worker
from legorec.data.store import Store
from legorec.data.vectors import made_with
from legorec.files.digest import digest_file
from legorec.lm.pretrained import find_pretrained
from legorec.lm.whole import WholeModel
from legorec.recipes.load import load
from tests.support.launching import one_thread
from tests.support.runs import ROOT, differences, finish, refused, run_folders
from tests.support.texts import arguments, clicks, text_model, text_store, texts


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_model(tmp_path_factory.mktemp("models") / "tiny").folder


@pytest.fixture(scope="module")
def store(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_store(tmp_path_factory.mktemp("data") / "store", model)


@pytest.fixture(scope="module")
def fields(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of the click model."""
    return finish(clicks(store, tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def before(fields: Path) -> dict[str, str]:
    """Digests of the click model's files before anything is aligned to it."""
    return digests(fields)


@pytest.fixture(scope="module")
def aligned(before, fields: Path, model: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    argv = texts(store, tmp_path_factory.mktemp("runs"), "cela-aligned", model, fields_of=fields)
    return finish([*argv, "--lr", "1e-2", "--item_lr", "1e-2"])


def digests(folder: Path) -> dict[str, str]:
    return {str(path): digest_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def fused(store: Path, runs: Path, table: Path, **more) -> list[str]:
    """The command line of the click model with the table."""
    given = {"embed": "config/embed/cela.yaml", "table": table / "items.safetensors"}
    return clicks(store, runs, "cela-fused-din", **given | {"table_by": table / "language_model"} | more)


def test_the_click_model_stays_as_it_was(aligned: Path, before: dict[str, str], fields: Path) -> None:
    assert aligned.is_dir() and digests(fields) == before


def test_every_row_is_what_the_encoder_gives(aligned: Path, store: Path) -> None:
    table = load_file(aligned / "items.safetensors")["vectors"]
    written = find_pretrained(str(aligned / "language_model"))
    encoder, tokenizer = WholeModel(written).eval(), written.tokenizer()
    record = made_with(aligned / "items.safetensors")
    assert record["weights"] == written.digest() and record["template"] == "[CLS] {title:20} [SEP]"
    assert len(table) == 60 and table.shape[1] == written.output_width
    cls, sep = (tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]"))
    rows = Store.open(store).items.field("title@tiny").rows
    with torch.no_grad():
        for item in range(60):
            ids = torch.tensor([cls, *rows[item][:20].tolist(), sep])
            fresh = encoder(ids, torch.tensor([len(ids)]))[0]
            assert (fresh - table[item]).abs().max() < 1e-6 * max(1.0, float(fresh.abs().max()))


def test_the_fused_model_never_runs_the_language_model(
    aligned: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self, *args, **kwargs):
        raise AssertionError("the language model ran")

    monkeypatch.setattr(WholeModel, "forward", refuse)
    for name in ("LowerLayers", "UpperLayers"):
        monkeypatch.setattr(f"legorec.lm.cut.{name}.forward", refuse)
    table = digest_file(aligned / "items.safetensors")
    run = finish(fused(store, tmp_path, aligned))
    assert digest_file(aligned / "items.safetensors") == table
    metrics = json.loads((run / "metrics.json").read_text())
    assert "gauc" in metrics["test"]["metrics"]
    held = load(run, "cpu").model.source["text"].table.weight
    assert torch.equal(held, load_file(aligned / "items.safetensors")["vectors"])
    assert not held.requires_grad


def test_a_table_of_another_making_is_refused(
    aligned: Path, model: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = fused(store, tmp_path / "runs", aligned, table_by=model)
    refused(argv, capsys, "was made with `weights`")
    other = tmp_path / "other"
    shutil.copytree(aligned / "language_model", other)
    text = (other / "tokenizer.json").read_text().replace('"w0"', '"another"')
    (other / "tokenizer.json").write_text(text)
    refused(fused(store, tmp_path / "runs", aligned, table_by=other), capsys, "was made with `tokenizer`")
    template = '{template: "{title:3}"}'
    argv = fused(store, tmp_path / "runs", aligned, embed__tables__0__made_with=template)
    refused(argv, capsys, "was made with `template`")


def test_a_click_model_of_other_items_is_refused(
    model: Path, fields: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text_store(tmp_path / "other", model, num_items=61)
    argv = texts(tmp_path / "other", tmp_path / "runs", "cela-aligned", model, fields_of=fields)
    refused(argv, capsys, "both must be of one store")


def test_an_epoch_encodes_every_item_once(
    fields: Path, model: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    plain = WholeModel.forward

    def count(self, ids_T, lengths_R):
        if self.training:
            counted.append(len(lengths_R))
        return plain(self, ids_T, lengths_R)

    monkeypatch.setattr(WholeModel, "forward", count)
    argv = texts(store, tmp_path, "cela-aligned", model, fields_of=fields, epoch=1)
    assert worker.main(argv) == 0
    filled = int((Store.open(store).items.field("title@tiny").rows.lengths > 0).sum())
    assert 0.6 * filled < sum(counted) <= 0.8 * filled + 1


def staged(store: Path, runs: Path, model: Path, **more) -> list[str]:
    """The command line of all four stages."""
    text = f"{ROOT}/config/data/synthetic-text.yaml"
    given = {"stages__adapt__data": text, "stages__align__data": text, "lm_path": model, "epoch": 1}
    return arguments(store, runs, "synthetic-fields", "cela-din", "cela", **given | more)


@pytest.mark.slow
def test_stages_one_by_one_equal_one_command(store: Path, model: Path, tmp_path: Path) -> None:
    assert worker.main(staged(store, tmp_path / "one", model)) == 0
    for stage in ("fields", "adapt", "align"):
        assert worker.main(staged(store, tmp_path / "two", model, stage=stage)) == 0
    assert worker.main(staged(store, tmp_path / "two", model)) == 0  # goes on with the last
    one, two = (
        {each.parents[0].name: each for each in run_folders(tmp_path / name)} for name in ("one", "two")
    )
    assert set(one) == set(two) == {"CELA-DIN", "CELA-adapted", "CELA-aligned", "CELA-fused-DIN"}
    for name, folder in one.items():
        assert folder.name == two[name].name and differences(folder, two[name]) == [], name
    tables = [digest_file(each["CELA-aligned"] / "items.safetensors") for each in (one, two)]
    assert tables[0] == tables[1]
