"""The cost of a joined step beside its parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.joined import main, measured, page
from legorec.settings import read_command_line
from tests.support.runs import arguments, write_store


def test_every_part_and_the_joined_model_are_timed(tmp_path: Path) -> None:
    argv = arguments(write_store(tmp_path / "store"), tmp_path, model="joined-naml")
    found = measured(read_command_line(argv), steps=2)
    assert set(found) == {"joined", "ids", "words"} and all(value > 0 for value in found.values())


def test_the_page_adds_the_parts() -> None:
    text = page({"joined": 0.3, "ids": 0.1, "words": 0.3})
    assert "| sum of the parts | 0.400 | 1.00 |" in text and "| joined | 0.300 | 0.75 |" in text


def test_items_with_one_source_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(write_store(tmp_path / "store"), tmp_path, model="lego_naml")) == 2
    assert "NAML has one source" in capsys.readouterr().err
