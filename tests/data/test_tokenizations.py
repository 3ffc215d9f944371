"""A store that gets another tokenization is the one that had it from the start, or stays as it was."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from legorec.data.layout import read_manifest
from legorec.data.store import Store, StoreError
from legorec.data.text import TokenizerChoice, encode, load_tokenizer
from legorec.data.tokenizations import add_tokenization
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter
from tests.data.test_text import folder_tokenizer
from tests.support.small_store import ITEMS, files, write


def test_a_tokenization_added_later_equals_one_from_the_start(tmp_path: Path) -> None:
    choice = TokenizerChoice("bert", folder_tokenizer(tmp_path / "bert"))
    before = write(tmp_path / "small").digest
    kept = files(tmp_path / "small")
    add_tokenization(tmp_path / "small", "title", choice)
    store = Store.open(tmp_path / "small", verify="full")
    assert store.digest != before and store.items.field_names[-1] == "title@bert"
    assert store.tokenizer("bert").to_str() == load_tokenizer(tmp_path / "bert").to_str()
    rows = store.items.field("title@bert").rows
    assert rows == encode(load_tokenizer(tmp_path / "bert"), list(store.items.text("title")))
    assert store.manifest["made_with"]["tokenizers"]["bert"] == choice.settings
    after = files(tmp_path / "small")
    assert {name for name in after if after[name] != kept.get(name)} == {
        "manifest.json",
        "items/title@bert.safetensors",
        "tokenizers/bert/tokenizer.json",
    }
    with pytest.raises(StoreError, match="the field 'title@bert' is there already"):
        add_tokenization(tmp_path / "small", "title", choice)
    with pytest.raises(StoreError, match="there is no text 'titel'; did you mean 'title'"):
        add_tokenization(tmp_path / "small", "titel", choice)


def test_an_added_vocabulary_sees_training_alone(tmp_path: Path) -> None:
    columns = [Column("title", "text")]
    with StoreWriter(tmp_path / "store", {}) as writer:
        writer.items(ITEMS, columns)
        frame = pl.DataFrame({"user": ["u"], "history": [["a"]], "candidates": [["c"]], "labels": [[1]]})
        writer.impressions("train", frame)
    add_tokenization(tmp_path / "store", "title", TokenizerChoice("words"))
    store = Store.open(tmp_path / "store")
    assert "secret" not in store.tokenizer("words").get_vocab()
    assert read_manifest(tmp_path / "store")["tokenizers"]["words"]["size"] == 7


def test_an_interrupted_addition_leaves_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write(tmp_path / "small").digest

    def fail(*_: object) -> None:
        raise OSError("disk full")

    choice = TokenizerChoice("bert", folder_tokenizer(tmp_path / "bert"))
    with monkeypatch.context() as patch:
        patch.setattr("legorec.files.whole.os.replace", fail)
        with pytest.raises(OSError, match="disk full"):
            add_tokenization(tmp_path / "small", "title", choice)
    assert Store.open(tmp_path / "small").digest == before
    add_tokenization(tmp_path / "small", "title", choice)
    Store.open(tmp_path / "small", verify="full")
