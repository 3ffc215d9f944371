"""What a model file suggests is read where no rate is named, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from legorec.compose.documents import read_document
from legorec.settings import Settings, SettingsError, describe, read_command_line
from legorec.settings.families import DEFAULT_FAMILY
from legorec.settings.modes import MODES
from legorec.settings.schema import SuggestedSettings
from tests.support.runs import ROOT

SUGGESTED = "suggested: {lr: 4e-3, item_lr: 4e-4, warmup: 30, schedule: cosine, epoch: 7}\n"
OWN = {"lr": 1e-3, "item_lr": None, "warmup": 0, "schedule": "constant", "epoch": 50}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """NAML with a suggestion of its own."""
    file = tmp_path / "m.yaml"
    file.write_text(f"$$import: {ROOT}/config/model/lego_naml.yaml\n{SUGGESTED}")
    return file


def asked(model: Path, *more: str, exp: Path = ROOT / "config/exp/train.yaml") -> Settings:
    layers = {"data": ROOT / "config/data/synthetic.yaml", "model": model, "exp": exp}
    named = [part for key, path in layers.items() for part in (f"--{key}", str(path))]
    return read_command_line([*named, *more])


def policy(settings: Settings) -> dict[str, object]:
    return {key: getattr(settings.exp.policy, key) for key in OWN}


def test_without_a_rate_the_whole_suggestion_is_read(model: Path) -> None:
    found = policy(asked(model))
    assert found == {"lr": 4e-3, "item_lr": 4e-4, "warmup": 30, "schedule": "cosine", "epoch": 7}


@pytest.mark.parametrize("flag", ["--lr", "--exp.policy.lr"])
def test_a_rate_that_a_flag_names_wins_and_nothing_is_read(model: Path, flag: str) -> None:
    assert policy(asked(model, flag, "2e-3")) == OWN | {"lr": 2e-3}


@pytest.mark.parametrize("rate", ["2e-3", "${lr:2e-3}$"])
def test_a_rate_that_an_exp_file_names_wins(model: Path, tmp_path: Path, rate: str) -> None:
    exp = tmp_path / "e.yaml"
    exp.write_text(f"$$import: {ROOT}/config/exp/train.yaml\npolicy:\n  lr: {rate}\n")
    assert policy(asked(model, exp=exp)) == OWN | {"lr": 2e-3}


@pytest.mark.parametrize(
    ("flags", "changed"),
    [
        (["--epoch", "3"], {"epoch": 3}),
        (["--schedule", "constant", "--warmup", "0"], {"schedule": "constant", "warmup": 0}),
        (["--item_lr", "1e-5"], {"item_lr": 1e-5}),
    ],
)
def test_another_flag_replaces_its_part(model: Path, flags: list[str], changed: dict[str, object]) -> None:
    assert policy(asked(model, *flags)) == policy(asked(model)) | changed


def line(settings: Settings, place: str) -> str:
    (found,) = (each for each in describe(settings).splitlines() if each.split()[0] == place)
    return found


def test_the_dry_run_says_where_the_rate_came_from(model: Path) -> None:
    said = line(asked(model), "exp.policy.lr")
    assert said.endswith(f"{model}:2 (model.suggested.lr, default of --lr)") and " 0.004 " in said
    assert "command line --lr (" in line(asked(model, "--lr", "1e-2"), "exp.policy.lr")
    assert line(asked(model, "--lr", "1e-2"), "model.suggested").endswith(
        "not read, as the rate is named elsewhere"
    )


def test_a_suggestion_is_not_part_of_the_digest(model: Path) -> None:
    """What is taken of it is; so a command that names a rate finds the run of before there was one."""
    plain = model.with_name("plain.yaml")
    plain.write_text(model.read_text().replace(SUGGESTED, ""))
    named = ["--lr", "2e-3"]
    assert asked(plain, *named).digest() == asked(model, *named).digest()
    flags = ["--lr", "4e-3", "--item_lr", "4e-4", "--warmup", "30", "--schedule", "cosine", "--epoch", "7"]
    assert asked(model).digest() == asked(model, *flags).digest()
    assert asked(model).digest() != asked(model, "--lr", "4e-3").digest()


def test_saved_settings_keep_their_own_values(model: Path, tmp_path: Path) -> None:
    """Whatever the model file says by then; those without a suggestion are read as they are."""
    settings = asked(model)
    settings.save(tmp_path / "s.yaml")
    again = read_command_line(["--settings", str(tmp_path / "s.yaml")])
    assert policy(again) == policy(settings) and again.digest() == settings.digest()
    named = asked(model, "--lr", "1e-3")
    text = "\n".join(each for each in named.to_yaml().splitlines() if "suggested" not in each)
    (tmp_path / "old.yaml").write_text(text)
    old = read_command_line(["--settings", str(tmp_path / "old.yaml")])
    assert policy(old) == OWN and old.digest() == named.digest()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("suggested: {lr: 0}", r"model\.suggested\.lr: must be above 0, got 0"),
        ("suggested: {lr: 1e-3, shedule: linear}", r"no such setting.*did you mean 'schedule'"),
    ],
)
def test_a_suggestion_is_checked_whether_it_is_read_or_not(model: Path, wrong: str, message: str) -> None:
    model.write_text(model.read_text().replace(SUGGESTED, wrong))
    for flags in ([], ["--lr", "1e-3"]):
        with pytest.raises(SettingsError, match=message) as error:
            asked(model, *flags)
        assert f"{model}:2" in str(error.value)


def test_a_suggestion_has_a_rate(model: Path) -> None:
    with pytest.raises(SettingsError, match=r"model\.suggested\.lr: is required: a number"):
        asked(model, "--model.suggested", "{epoch: 3}")


@pytest.mark.parametrize("exp", ["test", "size", "latency", "predict", "export"])
def test_what_trains_nothing_reads_no_suggestion(model: Path, tmp_path: Path, exp: str) -> None:
    file = ROOT / f"config/exp/{exp}.yaml"
    load = ["--load", str(tmp_path)] if "load: ${load}$" in file.read_text() else []
    assert policy(asked(model, *load, exp=file)) == OWN


def test_every_exp_file_that_trains_reads_it() -> None:
    trees = {
        file.stem: read_document(str(file), []).tree for file in sorted((ROOT / "config/exp").glob("*.yaml"))
    }
    training = [name for name, tree in trees.items() if "train" in str(tree.get("mode"))]
    assert {"train", "tt-naml", "trsr", "instructions", "tallrec-kshot", "calrec-tune"} <= set(training)
    for name in training:
        policy = trees[name]["policy"]
        assert all(f"model.suggested.{key}" in str(policy[key]) for key in ("lr", "schedule")), name


def test_every_named_model_suggests_a_rate_and_tuned_language_models_two() -> None:
    files = sorted((ROOT / "config/model").glob("*.yaml"))
    assert len(files) > 50
    for file in files:
        tree = read_document(str(file), []).tree
        if tree.get("family", DEFAULT_FAMILY) not in MODES["train"].families:
            continue  # it learns nothing
        found = SuggestedSettings.model_validate(tree["suggested"])
        if tree.get("family", DEFAULT_FAMILY) != DEFAULT_FAMILY:  # one rate for all that is learned
            assert found.schedule == "linear" and (found.item_lr or 0) < found.lr, file
            continue
        sides = [tree, *tree.get("parts", {}).values()]
        tuned = any(side.get("item_encoder", {}).get("name") in ("bert", "llama") for side in sides)
        assert found.schedule == "linear" and found.lr >= 1e-3, file
        assert (found.item_lr is not None) is tuned, file
        assert found.item_lr is None or found.item_lr < found.lr, file
