"""Models over semantic codes, from vectors of items to metrics; codes of other items are refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import worker
from legorec.data.catalog import Catalog
from legorec.data.histories import Histories
from legorec.data.vectors import NewTable, Rows
from legorec.recipes.inputs.item_codes import read_codes
from legorec.recipes.inputs.store_data import Data
from legorec.settings import FieldSettings
from process.embed import main as embed
from tests.support.runs import arguments, differences, finish, refused, write_store
from tests.support.small_store import write

MODEL = """
name: codes
source:
  name: codes
  embed_dim: ${embed_hidden_size:64}$
item_encoder:
  name: naml
  hidden_dim: ${hidden_size:64}$
user_encoder:
  name: semantic
  encoder: ${encoder:attention}$
  heads: 4
predictor: {name: dot}
objective: {name: sampled_softmax}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
    """A model of codes, and codes of the store's items from random vectors."""
    folder = tmp_path_factory.mktemp("codes")
    (folder / "model.yaml").write_text(MODEL)
    np.save(folder / "vectors.npy", np.random.default_rng(0).normal(size=(60, 8)))
    write_codes(folder, store, "c")
    return folder


def write_codes(place: Path, store: Path, name: str) -> None:
    given = {"vectors": place / "vectors.npy", "store": store, "name": name, "levels": 2, "size": 8}
    given |= {"out": place, "config": place}
    embed(["codes", "--unique", *(str(part) for key, value in given.items() for part in (f"--{key}", value))])


def command(place: Path, store: Path, runs: Path, embed: str | None = "c", **flags: Any) -> list[str]:
    if embed is not None:
        flags["embed"] = place / f"{embed}.yaml"
    argv = arguments(store, runs, model="lego_naml", **flags)
    argv[argv.index("--model") + 1] = str(place / "model.yaml")
    return argv


@pytest.mark.slow
def test_a_whole_run(store: Path, place: Path, tmp_path: Path) -> None:
    """It repeats to the last bit, and another run tests its weights."""
    one, other = (finish(command(place, store, tmp_path / name)) for name in ("one", "other"))
    assert differences(one, other) == []
    assert finish(command(place, store, tmp_path / "test", exp="test", load=one))
    assert worker.main(command(place, store, tmp_path / "size", exp="size")) == 0


def test_weights_go_with_the_codes_that_they_were_learned_from(
    store: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = finish(command(place, store, tmp_path / "runs", encoder="gru", epoch=1))
    np.save(place / "vectors.npy", np.random.default_rng(1).normal(size=(60, 8)))
    write_codes(place, store, "d")
    argv = command(place, store, tmp_path / "test", embed="d", encoder="gru", exp="test", load=trained)
    refused(argv, capsys, "was trained with another table", "'embed/.codes' differs")


def test_codes_of_another_store_are_refused(
    store: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_store(tmp_path / "other", num_items=61)
    refused(
        command(place, other, tmp_path / "runs"),
        capsys,
        f"embed.codes: {place}/c.safetensors was made for other items than those of {other}; write it again",
    )


def test_a_model_without_its_codes_is_refused(
    store: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(
        command(place, store, tmp_path / "runs", embed=None),
        capsys,
        "needs `embed.codes`",
        "process/embed.py codes writes them",
    )


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """Of a store with five items."""
    store = write(tmp_path / "store")
    catalog = Catalog.from_store(store, {"category": FieldSettings()})
    nothing: Any = SimpleNamespace()
    return Data(store, catalog, Histories(store.histories, store.spans, None), nothing)


def saved(tmp_path: Path, values: torch.Tensor, *more: torch.Tensor) -> Path:
    tensors = {str(number): tensor for number, tensor in enumerate((values, *more))}
    save_file(tensors, tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


CODES = torch.tensor([[0, 1], [2, 0], [0, 0], [1, 1], [0, 1]])


def test_sizes_are_as_stated_or_as_they_occur(tmp_path: Path, data: Data) -> None:
    found = read_codes(saved(tmp_path, CODES.to(torch.uint8)), data)
    assert torch.equal(found.values, CODES) and found.sizes == (3, 2)
    new = NewTable("t", None, tmp_path, tmp_path, "")
    new.write_codes(CODES.numpy(), [4, 2], Rows.of_items(data.store))
    found = read_codes(new.path, data)
    assert torch.equal(found.values, CODES) and found.sizes == (4, 2)


def test_unreadable_codes_are_refused(tmp_path: Path, data: Data) -> None:
    def said(path: Path) -> str:
        with pytest.raises(ValueError) as error:
            read_codes(path, data)
        return str(error.value)

    def written(sizes: list[int], rows: Rows) -> Path:
        new = NewTable("t", None, tmp_path, tmp_path, "", overwrite=True)
        new.write_codes(CODES.numpy(), sizes, rows)
        return new.path

    own = Rows.of_items(data.store)
    assert "none does not exist; write it with process/embed.py codes" in said(tmp_path / "none")
    assert "must hold one tensor, it holds 2" in said(saved(tmp_path, CODES, CODES.clone()))
    matrix = "must hold a matrix of whole numbers, a row of levels for each item; it holds"
    assert f"{matrix} (5, 2) of torch.float32" in said(saved(tmp_path, CODES.float()))
    assert f"{matrix} (10,) of torch.int64" in said(saved(tmp_path, CODES.flatten()))
    assert "must hold codes that count from 0, one is -1" in said(saved(tmp_path, CODES - 1))
    assert "was made for other items than those of" in said(saved(tmp_path, CODES[:4]))
    assert "was made for other items than those of" in said(written([3, 2], Rows(5, "other")))
    sizes = "says that its levels have {} codes, those in it take 3, 2; write it again"
    assert sizes.format("3, 1") in said(written([3, 1], own))
    assert sizes.format("3") in said(written([3], own))
    (tmp_path / "x.safetensors").write_bytes(b"no")
    assert "cannot be read" in said(tmp_path / "x.safetensors")
