"""A tokenization is added to a store that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from legorec.data.store import Store
from process.retokenize import main
from tests.support.raw_files import refusal
from tests.support.small_store import write


def test_adds_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = write(tmp_path / "store")
    (tmp_path / "bert").mkdir()
    store.tokenizer("words").save(str(tmp_path / "bert" / "tokenizer.json"))
    arguments = [
        "--store",
        tmp_path / "store",
        "--field",
        "title",
        "--tokenizer",
        f"bert={tmp_path / 'bert'}",
    ]
    main([str(part) for part in arguments])
    assert "title@bert" in capsys.readouterr().out
    added = Store.open(tmp_path / "store").items
    assert added.field("title@bert").rows == added.field("title@words").rows
    assert "the field 'title@bert' is there already" in refusal(main, arguments, capsys)
    assert "unknown argument --stor" in refusal(main, [*arguments, "--stor", "x"], capsys)
