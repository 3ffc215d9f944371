"""A file that is given as another layer than its own is named as what it is, and nothing else is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from legorec.compose import LAYERS
from legorec.compose.documents import read_document
from legorec.compose.swapped import OF_LAYER, swapped
from legorec.settings import SettingsError, read_command_line
from legorec.settings.exp_layer import ExpSettings
from legorec.settings.families import FAMILIES
from legorec.settings.schema import DataSettings, EmbedSettings
from tests.support.runs import ROOT

RIGHT = {"data": "movielens", "model": "lego_naml", "exp": "tt-naml"}


def refused(**named: str) -> list[str]:
    argv = [text for name, file in (RIGHT | named).items() for text in (f"--{name}", file)]
    with pytest.raises(SettingsError) as error:
        read_command_line(argv)
    return str(error.value).splitlines()[1:]


@pytest.mark.parametrize("layer", RIGHT)
@pytest.mark.parametrize("other", RIGHT)
def test_a_swapped_file_is_told_in_one_line(layer: str, other: str, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    if layer == other:
        return
    path = f"config/{other}/{RIGHT[other]}.yaml"
    (line,) = refused(**{layer: path})
    assert f"--{layer}: {path} is a file of the {other} layer (" in line
    assert line.endswith(f": give it as --{other}")


def test_a_bare_name_of_another_layer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (line,) = refused(model="tt-naml")
    assert line.endswith("'tt-naml' is a file of the exp layer: give it as --exp tt-naml")
    assert "did you mean" in refused(model="lego_nalm")[0]


def test_every_file_of_the_library_is_of_its_layer() -> None:
    files = [(layer, file) for layer in LAYERS for file in sorted((ROOT / "config" / layer).glob("*.yaml"))]
    assert len(files) > 100
    for layer, file in files:
        tree = read_document(str(file), []).tree
        assert swapped(layer, str(file), tree) is None
        others = [other for other in LAYERS if other != layer]
        if set(tree) > {"name"}:
            assert all(f"of the {layer} layer" in str(swapped(other, "x", tree)) for other in others), file


def test_the_settings_that_tell_a_layer_are_of_its_schema() -> None:
    models = {name for family in FAMILIES.values() for name in family.settings.model_fields}
    schemas = {"data": DataSettings, "embed": EmbedSettings, "exp": ExpSettings}
    fields = {layer: set(schema.model_fields) for layer, schema in schemas.items()} | {"model": models}
    for layer, keys in OF_LAYER.items():
        assert keys - {"stages"} <= fields[layer]
        assert not any(keys & fields[other] for other in OF_LAYER if other != layer)
    assert Path(ROOT, "config").is_dir()
