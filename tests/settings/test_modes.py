"""Modes and families are rows of two tables, and nothing else in the library compares their names."""

import ast
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from legorec.recipes.run import function_at
from legorec.settings import SettingsError, read_command_line
from legorec.settings.exp_layer import ExpSettings
from legorec.settings.families import FAMILIES, Family
from legorec.settings.modes import MODES
from legorec.settings.resolved import LAYERS
from legorec.settings.schema import SplitSettings, Strict
from tests.support.runs import ROOT, arguments, write_store

TABLES = {f"legorec/settings/{name}.py" for name in ("modes", "families", "schema", "exp_layer")}
FILES = [*sorted((ROOT / "legorec").rglob("*.py")), ROOT / "worker.py"]
# Splits are called as some modes are, and files are verified by their size.
NAMES = ({*MODES} | {*FAMILIES}) - {*SplitSettings.model_fields, "size"}


def comparisons(text: str) -> list[str]:
    """Comparisons with the name of a mode or family, or with what ``exp.mode`` or ``model.family`` is."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            sides = [node.func.value] if node.func.attr in ("startswith", "endswith") else []
        elif isinstance(node, ast.Match):
            sides = [node.subject]
        else:
            continue
        keys = {each.slice for side in sides for each in ast.walk(side) if isinstance(each, ast.Subscript)}
        inner = [each for side in sides for each in ast.walk(side) if each not in keys]
        names = {each.value for each in inner if isinstance(each, ast.Constant)} & NAMES
        read = [ast.unparse(each) for each in inner if isinstance(each, ast.Attribute)]
        by_attribute = [each for each in read if each.endswith(("exp.mode", "model.family"))]
        indexed = isinstance(node, ast.Compare) and any(isinstance(op, ast.NotIn | ast.In) for op in node.ops)
        if names or (by_attribute and not indexed):
            found.append(ast.unparse(node))
    return found


def test_nothing_compares_the_names_of_modes_and_families():
    found = {str(path.relative_to(ROOT)): comparisons(path.read_text(encoding="utf-8")) for path in FILES}
    assert len(found) > 150
    assert {path: each for path, each in found.items() if each and path not in TABLES} == {}


@pytest.mark.parametrize(
    "line",
    [
        'if settings.exp.mode == "cache": pass',
        "if exp.mode != wanted: pass",
        'x = mode in ("export", "predict")',
        'if settings.exp.mode.startswith("tr"): pass',
        "match settings.model.family:\n    case _: pass",
    ],
)
def test_a_comparison_is_found(line):
    assert len(comparisons(line)) == 1


def test_an_argument_may_be_called_as_a_mode_is():
    assert comparisons('if arguments["cache"] is None: pass') == []


@pytest.mark.parametrize("name", MODES)
def test_every_mode_has_a_recipe_and_a_block_that_is_there(name):
    mode = MODES[name]
    assert mode.name == name and callable(function_at(mode.recipe)) and mode.about
    assert mode.block is None or mode.block in ExpSettings.model_fields
    assert mode.needs is None or mode.block is not None
    assert mode.foresees is None or callable(function_at(mode.foresees))
    assert set(mode.reads) < set(LAYERS) and "data" in mode.reads
    assert set(mode.families) <= set(FAMILIES) and set(mode.measures) <= set(SplitSettings.model_fields)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_a_task_and_a_schema(name):
    family = FAMILIES[name]
    assert family.name == name and callable(function_at(family.task)) and family.about
    assert get_args(family.settings.model_fields["family"].annotation) == (name,)


def test_the_docs_list_the_modes():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` | {mode.about} |" in page for name, mode in MODES.items())


class OtherSettings(Strict):
    family: str = "other"
    name: str
    hint: str = ""


@pytest.fixture
def other(monkeypatch) -> type[BaseModel]:
    """One more family for as long as a test runs."""
    family = Family("other", "a hint and nothing else", OtherSettings, "tower:tower", "size")
    monkeypatch.setitem(FAMILIES, "other", family)
    return OtherSettings


def refusal(argv: list[str]) -> str:
    with pytest.raises(SettingsError) as error:
        read_command_line(argv)
    return str(error.value)


def test_a_key_of_another_family_is_answered_in_the_words_of_the_right_one(tmp_path: Path, other):
    argv = arguments(write_store(tmp_path / "store"), tmp_path)
    said = refusal([*argv, "--model.hint", "x"])
    assert "model.hint: is a setting of the family 'other' (a hint and nothing else)" in said
    assert "this model is of the family 'tower'" in said
    said = refusal([*argv, "--model.family", "other"])
    assert "model.predictor: is a setting of the family 'tower'" in said and "no such setting" not in said


def test_a_mode_refuses_a_family_that_it_cannot_work_on(tmp_path: Path, other):
    (tmp_path / "m.yaml").write_text("family: other\nname: O\n")
    argv = arguments(write_store(tmp_path / "store"), tmp_path)
    argv[argv.index("--model") + 1] = str(tmp_path / "m.yaml")
    kept = [f"--{key}" for key in ("hidden_size", "embed_hidden_size", "heads")]
    argv = [each for place, each in enumerate(argv) if each not in kept and argv[place - 1] not in kept]
    assert "exp.mode: must not be 'train_test' with a model of the family 'other'" in refusal(argv)


def test_a_family_that_is_not_there_is_refused(tmp_path: Path):
    argv = arguments(write_store(tmp_path / "store"), tmp_path)
    said = refusal([*argv, "--model.family", "towr"])
    wanted = " or ".join(map(repr, FAMILIES))
    assert f"model.family: must be {wanted}, got 'towr'; did you mean 'tower'?" in said
