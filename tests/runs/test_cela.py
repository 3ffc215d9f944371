"""The predictors of click models read ids, categories and numbers together, and a table beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from legorec.build import build
from legorec.data.store import Store
from legorec.data.vectors import Rows, save_table
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.store_data import open_data
from legorec.recipes.tower import click_stream, note_seen
from legorec.settings import Settings, read_command_line
from tests.support.runs import ROOT
from tests.support.small_store import write

PREDICTORS = ("autoint", "dcn", "dcnv2", "deepfm", "din", "dnn", "finalmlp", "gdcn", "masknet", "pnn")
FIELDS = "{category: {}, genres: {}, price: {scaled: min_max}}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "store"
    write(path)
    return path


def settings(store: Path, model: str, *more: str) -> Settings:
    layers = {"data": "data/synthetic-fields", "model": f"model/{model}", "exp": "exp/cela-clicks"}
    argv = [part for name, file in layers.items() for part in (f"--{name}", f"{ROOT}/config/{file}.yaml")]
    own = ["--data.store", str(store), "--data.fields", FIELDS, "--batch_size", "4", "--neg_count", "1"]
    return read_command_line([*argv, *own, *more])


def gradients(chosen: Settings) -> dict[str, float]:
    """The largest gradient of each table of a source after one batch."""
    data = open_data(chosen, ["train"])
    model = build_model(chosen, data, torch.device("cpu")).train()
    note_seen(model, data.training)
    objective = build("objective", chosen.model.objective, {})
    batch = click_stream(chosen, data.training, objective=objective).batch(0)
    objective(model, batch).total.backward()
    found = dict(model.named_parameters())
    return {name: float(value.grad.abs().max()) for name, value in found.items() if value.grad is not None}


def test_there_is_a_file_for_every_predictor() -> None:
    names = {path.stem for path in (ROOT / "config/model").glob("cela-*.yaml")}
    assert {f"cela-{each}" for each in PREDICTORS} | {f"cela-fused-{each}" for each in PREDICTORS} <= names


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_ids_and_fields_learn_together(store: Path, predictor: str) -> None:
    chosen = settings(store, f"cela-{predictor}")
    assert chosen.model.predictor.name == predictor
    found = gradients(chosen)
    tables = {name: value for name, value in found.items() if name.endswith("learned")}
    assert set(tables) == {"source.part_ids.learned", "source.part_fields.learned"}
    assert all(value > 0 for value in tables.values())


@pytest.mark.parametrize("predictor", ["din", "dcn"])
def test_a_frozen_table_stands_beside_them(store: Path, tmp_path: Path, predictor: str) -> None:
    table = tmp_path / "items.safetensors"
    save_table(table, torch.randn(5, 24), Rows.of_items(Store.open(store)), {"template": "{title}"})
    embed = ["--embed", f"{ROOT}/config/embed/cela.yaml", "--table", str(table)]
    found = gradients(settings(store, f"cela-fused-{predictor}", *embed))
    assert any("part_text" in name for name in found)
    assert not any("table" in name for name in found)


def test_configs_of_stages_name_what_is_there() -> None:
    for path in (ROOT / "config/exp").glob("cela-*.yaml"):
        assert yaml.safe_load(path.read_text())["name"] == path.stem
