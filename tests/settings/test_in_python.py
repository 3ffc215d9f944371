"""Settings from Python are those of the files and flags, completed and refused by the same rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from legorec.settings import BrickSettings, SettingsError, read_command_line
from legorec.settings.in_python import completed, settings_of
from tests.support.config_files import FILES, arguments, write_files


def test_layers_as_trees_files_and_names_are_those_of_the_command_line(tmp_path: Path) -> None:
    write_files(tmp_path)
    asked = read_command_line(arguments(tmp_path, "--lr", "0.25", "--exp.policy.batch_size", "8"))
    flags = {"lr": 0.25, "exp__policy__batch_size": 8}
    files = {layer: tmp_path / f"{layer}.yaml" for layer in ("data", "embed", "model", "exp")}
    assert settings_of(files, flags) == asked
    trees = files | {"model": yaml.safe_load(FILES["model.yaml"])}
    assert settings_of(trees, flags).digest() == asked.digest()
    named = settings_of({"data": files["data"], "model": "lego_nrms", "exp": "train"}, {"epoch": 3})
    assert named.exp.policy.epoch == 3 and named.model.name == "NRMS"
    assert named.origins["exp.policy.epoch"].startswith("Python (")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"lrr": 1}, "lrr: nothing reads it"),
        ({"lr": "fast"}, "exp.policy.lr: must be a number"),
        ({"exp__polcy": {}}, "exp.polcy: there is no such setting"),
        ({"data": "x"}, "data: is a layer, and no flag"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, flags: dict[str, object], message: str) -> None:
    write_files(tmp_path)
    files = {layer: tmp_path / f"{layer}.yaml" for layer in ("data", "embed", "model", "exp")}
    with pytest.raises(SettingsError) as error:
        settings_of(files, flags)
    assert message in str(error.value) and "Python" in str(error.value)
    assert len(error.value.problems) == 1


def test_a_bare_name_that_there_is_not() -> None:
    with pytest.raises(
        ValueError, match="no model 'lego_namll' in config/model, .*; did you mean 'lego_naml'"
    ):
        settings_of({"data": "synthetic", "model": "lego_namll", "exp": "train"}, {})
    with pytest.raises(
        ValueError, match="no exp 'zzzz' in config/exp, .*; there are .*bert-split, .*tt-nrms"
    ):
        settings_of({"data": "synthetic", "model": "lego_naml", "exp": "zzzz"}, {})


def test_a_bare_name_of_the_library_beside_a_folder_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config" / "model").mkdir(parents=True)
    (tmp_path / "config" / "model" / "mine.yaml").write_text("name: mine\n")
    monkeypatch.chdir(tmp_path)
    for name, near in (("lego_namll", "lego_naml"), ("mien", "mine")):
        with pytest.raises(ValueError, match=f"no model '{name}' in .*; did you mean '{near}'"):
            settings_of({"data": "synthetic", "model": name, "exp": "train"}, {})


def test_bricks_get_the_defaults_that_yaml_gives_them(tmp_path: Path) -> None:
    write_files(tmp_path)
    asked = read_command_line(arguments(tmp_path))
    assert completed(asked) is asked
    encoder = asked.model.item_encoder
    given = {name: encoder.arguments[name] for name in ("hidden_dim", "heads")}  # what the file has
    short = asked.model.model_copy(update={"item_encoder": BrickSettings(name="nrms", arguments=given)})
    assert given != encoder.arguments
    whole = completed(replace(asked, model=short))
    assert whole == asked and whole.digest() == asked.digest()
    for arguments_, message in (
        ({"hiden_dim": 8}, "did you mean 'hidden_dim'"),
        ({"hidden_dim": "8"}, "must be a whole number"),
    ):
        wrong = BrickSettings(name="nrms", arguments=arguments_)
        with pytest.raises(SettingsError, match=message):
            completed(replace(asked, model=short.model_copy(update={"item_encoder": wrong})))
