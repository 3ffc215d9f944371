"""Given tables are held against the vocabularies of a store, and against its items."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from legorec.compose.scalars import SettingsLoader
from legorec.data.catalog import Catalog
from legorec.data.histories import Histories
from legorec.data.store import Store
from legorec.data.vectors import ITEMS, NewTable, Rows
from legorec.recipes.inputs.given_vectors import read_matrix, read_tables
from legorec.recipes.inputs.store_data import Data
from legorec.settings import EmbedSettings, FieldSettings, TokenTableSettings
from tests.support.small_store import write


@pytest.fixture
def data(tmp_path: Path) -> Data:
    store = write(tmp_path / "store")
    catalog = Catalog.from_store(store, {"title@words": FieldSettings(), "category": FieldSettings()})
    histories = Histories(store.histories, store.spans, None)
    return Data(store, catalog, histories, SimpleNamespace())


def written(
    tmp_path: Path, vocabulary: str, rows: Rows, padding: int = 0
) -> tuple[EmbedSettings, torch.Tensor]:
    """A layer with one random table, with rows behind those that belong to something."""
    matrix = torch.randn(rows.count + padding, 4)
    made = NewTable("t", vocabulary, tmp_path, tmp_path, "", overwrite=True)
    made.write(matrix, rows)
    return layer(made.path, vocabulary), matrix


def layer(path: Path, vocabulary: str) -> EmbedSettings:
    return EmbedSettings(tables=[TokenTableSettings(vocabulary=vocabulary, path=str(path))])


def words(store: Store) -> Rows:
    return Rows.of_tokens(store.tokenizer("words"))


def test_tables_come_by_vocabulary(tmp_path: Path, data: Data) -> None:
    for vocabulary, rows in (("words", words(data.store)), (ITEMS, Rows.of_items(data.store))):
        settings, matrix = written(tmp_path, vocabulary, rows)
        assert torch.equal(read_tables(settings, data)[vocabulary].weight, matrix)


def test_a_table_of_another_making_is_refused(tmp_path: Path, data: Data) -> None:
    rows = Rows.of_items(data.store)
    settings = {"pool": "mean", "prefix": "1e5"}
    made = NewTable("t", ITEMS, tmp_path, tmp_path, "", settings=settings)
    made.write(torch.randn(rows.count, 4), rows)
    written = EmbedSettings(**yaml.load(made.layer_path.read_text(), SettingsLoader))
    assert read_tables(written, data)[ITEMS].weight.shape == (rows.count, 4)
    (table,) = written.tables
    assert table.made_with == settings

    def refused(wanted: dict[str, str], why: str) -> None:
        other = table.model_copy(update={"made_with": wanted})
        with pytest.raises(ValueError, match=why):
            read_tables(EmbedSettings(tables=[other]), data)

    refused({"pool": "cls"}, r"was made with `pool` = 'mean', the layer requires 'cls'; write one of them")
    refused({"width": "8"}, r"does not say which `width` it was made with, the layer requires '8'")


def test_padding_behind_the_tokens_is_left_out(tmp_path: Path, data: Data) -> None:
    rows = words(data.store)
    settings, matrix = written(tmp_path, "words", rows, padding=3)
    assert torch.equal(read_tables(settings, data)["words"].weight, matrix[: rows.count])


def test_as_many_rows_are_not_the_same_rows(tmp_path: Path, data: Data) -> None:
    settings, _ = written(tmp_path, "words", replace(words(data.store), digest="other"))
    with pytest.raises(
        ValueError, match=r"made for other tokens of the vocabulary 'words' than those of .*store"
    ):
        read_tables(settings, data)
    settings, _ = written(tmp_path, ITEMS, replace(Rows.of_items(data.store), digest="other"))
    with pytest.raises(ValueError, match=r"made for other items than .* again with process/embed.py"):
        read_tables(settings, data)


def test_a_table_of_another_length_is_refused(tmp_path: Path, data: Data) -> None:
    """Even where padding makes it as long as the vocabulary."""
    count = words(data.store).count
    settings, _ = written(tmp_path, "words", Rows(count - 1, "other"), padding=1)
    with pytest.raises(
        ValueError, match=f"has {count - 1} rows, the vocabulary 'words' has {count}; the table"
    ):
        read_tables(settings, data)
    save_file({"x": torch.zeros(count + 1, 2)}, tmp_path / "longer.safetensors")
    with pytest.raises(
        ValueError, match=f"has {count + 1} rows, the vocabulary 'words' has {count}; the table"
    ):
        read_tables(layer(tmp_path / "longer.safetensors", "words"), data)


def test_a_table_without_a_statement_is_taken_by_its_length(tmp_path: Path, data: Data) -> None:
    given = np.random.default_rng(0).random((data.catalog.vocabularies["category"], 3))
    np.save(tmp_path / "given.npy", given)
    table = read_tables(layer(tmp_path / "given.npy", "category"), data)["category"]
    assert table.weight.dtype == torch.float32 and np.allclose(table.weight, given)


def test_a_vocabulary_that_no_field_uses_is_refused(tmp_path: Path, data: Data) -> None:
    settings, _ = written(tmp_path, "chars", words(data.store))
    with pytest.raises(
        ValueError, match=r"names the vocabulary 'chars', .* there are words, category, items"
    ):
        read_tables(settings, data)


def test_r11_unreadable_matrices_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, 2), "b": torch.zeros(2, 2)}, tmp_path / "two.safetensors")
    save_file({"a": torch.full((2, 2), torch.nan)}, tmp_path / "nan.safetensors")
    save_file({"a": torch.zeros(2, 2, dtype=torch.int64)}, tmp_path / "whole.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    (tmp_path / "x.bin").touch()
    np.save(tmp_path / "pickled.npy", np.array([{}]), allow_pickle=True)
    for name, message in {
        "none.npy": "does not exist; write it with process/embed.py",
        "two.safetensors": "must hold one tensor, it holds 2",
        "nan.safetensors": "holds values that are not finite",
        "whole.safetensors": r"must hold a matrix of floats, .* \(2, 2\) of torch.int64",
        "bad.safetensors": "cannot be read",
        "x.bin": "must be a .npy or .safetensors file",
        "pickled.npy": "is no plain .npy matrix",
    }.items():
        with pytest.raises(ValueError, match=message):
            read_matrix(tmp_path / name)
