"""A table of vectors and its layer are written whole or not at all, and say whose rows they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models

from legorec.data.vectors import ITEMS, NewTable, Rows
from legorec.settings import EmbedSettings
from legorec.sources.vectors import ITEMS as NAME_IN_SOURCE
from tests.support.small_store import write

ROWS = Rows(5, "d")
MATRIX = torch.arange(12.0).view(6, 2)


def new(tmp_path: Path, name: str = "t", vocabulary: str = "words", overwrite: bool = False) -> NewTable:
    return NewTable(name, vocabulary, tmp_path / "tables", tmp_path / "layers", "A remark.", overwrite)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_writes_a_table_and_a_layer_that_the_settings_read(tmp_path: Path) -> None:
    made = new(tmp_path, "llama-token.13b")
    made.write(MATRIX.bfloat16(), ROWS)
    assert names(tmp_path) == ["layers/llama-token.13b.yaml", "tables/llama-token.13b.safetensors"]
    assert torch.equal(load_file(made.path)["vectors"], MATRIX.bfloat16())
    assert Rows.stated_in(made.path) == ROWS
    assert made.layer_path.read_text() == made.layer_text()
    assert made.layer_text().startswith("# A remark.\nname: llama-token.13b\n")
    layer = EmbedSettings(**yaml.safe_load(made.layer_text()))
    (table,) = layer.tables
    assert (layer.name, table.vocabulary, table.path) == ("llama-token.13b", "words", str(made.path))
    assert table.frozen and table.transform == "auto"
    assert made.path.stat().st_mode & 0o044 == made.path.parent.stat().st_mode & 0o044


def test_what_is_there_is_refused_or_replaced(tmp_path: Path) -> None:
    new(tmp_path).write(MATRIX, ROWS)
    with pytest.raises(ValueError, match=r"t.safetensors: it exists; give another --name, or --overwrite"):
        new(tmp_path)
    new(tmp_path, overwrite=True).write(MATRIX + 1, ROWS)
    assert torch.equal(load_file(tmp_path / "tables" / "t.safetensors")["vectors"], MATRIX + 1)


def test_a_layer_of_the_same_meaning_stays(tmp_path: Path) -> None:
    made = new(tmp_path)
    made.layer_path.parent.mkdir()
    written = f"# mine\ntables: [{{path: {made.path}, vocabulary: words}}]\nname: t\n"
    made.layer_path.write_text(written)
    for overwrite in (False, True):
        new(tmp_path, overwrite=overwrite).write(MATRIX, ROWS)
        assert made.layer_path.read_text() == written


@pytest.mark.parametrize(
    "written",
    [
        "name: t\ntables: []\n",
        "name: t\ntables: [{vocabulary: words, path: other.npy}]\n",
        "name: t\n",
        "[1]\n",
        "{",
        "name: ${x}\ntables: 3\n",
    ],
)
def test_a_layer_of_another_meaning_is_refused_or_replaced(tmp_path: Path, written: str) -> None:
    path = tmp_path / "layers" / "t.yaml"
    path.parent.mkdir()
    path.write_text(written)
    with pytest.raises(ValueError, match=r"t.yaml: it exists and says something else; give another --name"):
        new(tmp_path)
    made = new(tmp_path, overwrite=True)
    made.write(MATRIX, ROWS)
    assert path.read_text() == made.layer_text()


def test_nothing_is_left_of_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"not finite as torch.float16, so nothing was written; --dtype"):
        new(tmp_path).write((MATRIX * 1e5).half(), ROWS)

    def full(tensors: object, path: Path, said: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("legorec.data.vectors.save_sealed", full)
    with pytest.raises(KeyboardInterrupt):
        new(tmp_path).write(MATRIX, ROWS)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a/b", "../b", ".b", "", "a b"])
def test_r12_a_name_is_safe(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"`name` must be letters, digits"):
        new(tmp_path, name)
    with pytest.raises(ValueError, match=r"vocabulary '.*' must consist of letters"):
        new(tmp_path, vocabulary=name)


def test_rows_of_tokens_are_the_tokens_with_their_ids() -> None:
    def rows(tokens: dict[str, int]) -> Rows:
        return Rows.of_tokens(Tokenizer(models.WordLevel(tokens, unk_token="a")))

    assert rows({"a": 0, "b": 1}) == rows({"b": 1, "a": 0})
    assert rows({"a": 0, "b": 1}) != rows({"a": 1, "b": 0})
    assert rows({"a": 0, "b": 4}).count == 5


def test_rows_of_items_are_their_ids(tmp_path: Path) -> None:
    store, same = write(tmp_path / "a"), write(tmp_path / "b", seed=3)
    assert Rows.of_items(store) == Rows.of_items(same)
    assert Rows.of_items(store).count == len(store.items)
    assert ITEMS == NAME_IN_SOURCE


def test_a_file_may_say_nothing(tmp_path: Path) -> None:
    save_file({"x": MATRIX}, tmp_path / "x.safetensors")
    np.save(tmp_path / "x.npy", MATRIX.numpy())
    assert Rows.stated_in(tmp_path / "x.safetensors") is None
    assert Rows.stated_in(tmp_path / "x.npy") is None
