"""Files of the library are found from any folder, after those of the current one."""

from __future__ import annotations

from pathlib import Path

import pytest

from legorec.compose.documents import read_document
from legorec.shipped import config_file, layer_file, shipped


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def own(text: str, *parts: str) -> Path:
    path = Path("config", *parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_bare_name_and_a_path_below_config_are_found_in_the_library(elsewhere):
    there = str(shipped("config") / "model" / "lego_naml.yaml")
    assert layer_file("model", "lego_naml") == config_file("config/model/lego_naml.yaml") == there


def test_a_file_of_ones_own_comes_first(elsewhere):
    mine = own("name: mine\n", "model", "lego_naml.yaml")
    assert layer_file("model", "lego_naml") == config_file("config/model/lego_naml.yaml") == str(mine)


def test_what_is_nowhere_stays_as_it_was_named(elsewhere):
    for name in (
        "config/model/nothing.yaml",
        "models/lego_naml.yaml",
        "/config/model/lego_naml.yaml",
        "x.yaml",
    ):
        assert layer_file("model", name) == name
    assert layer_file("model", "nothing").endswith("config/model/nothing.yaml")


@pytest.mark.parametrize("named", ["parts/tokens.yaml", "../../config/model/parts/tokens.yaml"])
def test_a_file_of_ones_own_imports_parts_of_the_library(elsewhere, named):
    file, problems = own(f"$$import: {named}\nname: mine\n", "model", "mine.yaml"), []
    tree = read_document(str(file), problems).tree
    assert not problems and tree["name"] == "mine" and tree["source"]["name"] == "table"


def test_a_file_anywhere_imports_a_whole_path(elsewhere):
    problems = []
    Path("mine.yaml").write_text("$$import: config/data/parts/clicks.yaml\nname: mine\n")
    assert read_document("mine.yaml", problems).tree["history"] == {"max_length": 50} and not problems
