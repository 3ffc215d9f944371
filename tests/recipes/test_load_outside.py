"""R11: a run's settings bring no code with them; bricks from outside are allowed by who loads the run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import import_module
from itertools import count
from pathlib import Path

import numpy as np
import pytest

import legorec
import worker
from legorec.settings import SettingsError, read_command_line
from tests.support.runs import ROOT, arguments, finish, refused, write_store

NUMBERS = count()  # modules are imported once, and names are looked up once
OWN = "from legorec.user_encoders.nrms import NRMSUserEncoder\n\n\nclass Own(NRMSUserEncoder):\n    pass\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose user encoder was named by hand, from a package that is no longer there; and its store."""
    folder, name = tmp_path_factory.mktemp("outside"), f"lab_{next(NUMBERS)}"
    store = write_store(folder / "store")
    write_package(folder / "lab", name)
    chosen = {"model.user_encoder": f"{{name: {name}.bricks.Own, heads: 4}}"}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder / "lab"))
        run = finish(arguments(store, folder / "runs", model="lego_naml", epoch=1, **chosen))
    shutil.rmtree(folder / "lab")
    return run, name, store


def rename(run: Path, old: str, new: str) -> None:
    """Put another name into a run's settings, as whoever can write there may do."""
    file = run / "settings.yaml"
    text = file.read_text()
    assert old in text
    file.write_text((text.partition("\n")[2] if text.startswith("#") else text).replace(old, new))


def write_package(folder: Path, name: str, marked: Path | None = None) -> None:
    """A package with a brick; it leaves a mark where it is imported."""
    (folder / name).mkdir(parents=True)
    mark = f"open({str(marked)!r}, 'w').close()\n" if marked else ""
    (folder / name / "__init__.py").write_text(mark)
    (folder / name / "bricks.py").write_text(mark + OWN)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A new name, and a folder on the Python path where the package lies."""
    name = f"lab_{next(NUMBERS)}"
    write_package(tmp_path / "lab", name)
    monkeypatch.syspath_prepend(str(tmp_path / "lab"))
    yield name
    for module in [each for each in sys.modules if each.partition(".")[0] == name]:
        del sys.modules[module]


@pytest.fixture
def run(trained, tmp_path, package):
    """The run, with the brick of the package, which is not imported yet."""
    shutil.copytree(trained[0], tmp_path / "run")
    rename(tmp_path / "run", trained[1], package)
    return tmp_path / "run"


@pytest.fixture
def store(trained):
    return trained[2]


def test_r11_a_brick_from_outside_is_allowed_by_the_caller(run, tmp_path, package):
    match = (
        f"model.user_encoder.name: '{package}.bricks.Own' is code from outside legorec, which the settings "
        f"of a run do not bring in; if you trust it, allow it: --allow {package}, or legorec.load.run, "
        f"allow=.'{package}'.."
    )
    for allow in ([], ["lab"], [package[:-1]], [f"{package}.brick"]):
        with pytest.raises(ValueError, match=match):
            legorec.load(run, device="cpu", allow=allow)
    assert package not in sys.modules
    for allow in ([package], [f"{package}.bricks"], ("other", package)):
        scores = legorec.load(run, device="cpu", allow=allow).score(["i1"], ["i2", "i3"])
        assert scores.shape == (2,) and np.isfinite(scores).all()
    with pytest.raises(ValueError, match="`allow` must be a list of packages, got the text"):
        legorec.load(run, device="cpu", allow=package)


def test_r11_on_the_command_line_by_a_flag_or_by_naming_the_brick(run, store, tmp_path, package, capsys):
    argv = ["--settings", str(run / "settings.yaml"), "--device", "cpu", "--runs", str(tmp_path / "again")]
    argv += ["--exp.mode", "test", "--exp.load", str(run)]
    refused(argv, capsys, f"'{package}.bricks.Own' is code from outside legorec", f"--allow {package}")
    assert worker.main([*argv, "--allow", package]) == 0
    named = ["--model.user_encoder", f"{{name: {package}.bricks.Own, heads: 4}}"]
    assert worker.main([*argv, *named, "--overwrite", "true"]) == 0
    assert (
        worker.main([*argv, "--model.user_encoder.name", f"{package}.bricks.Own", "--overwrite", "true"]) == 0
    )
    tested = arguments(store, tmp_path / "b", model="lego_naml", exp="test", load=run)
    assert worker.main([*tested, *named]) == 0  # in the user's own layers
    refused([*tested, *named, "--allow", package], capsys, "allow: is read with --settings only")


@pytest.mark.parametrize("place", ["run", "current"])
@pytest.mark.parametrize("allowed", [False, True])
def test_r11_code_beside_a_run_or_in_the_current_folder_is_not_run(
    run, tmp_path, package, monkeypatch, place, allowed
):
    """Python itself would look there first."""
    brought, marked = f"brought_{next(NUMBERS)}", tmp_path / "marked"
    folder = run if place == "run" else tmp_path / "current"
    write_package(folder, brought, marked)
    rename(run, package, brought)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    where = {"run": "the run's own folder", "current": "the current folder"}[place]
    match = f"would be read from .*, in {where}, where anybody's files may lie" if allowed else "from outside"
    with pytest.raises(ValueError, match=match):
        legorec.load(run, device="cpu", allow=[brought] if allowed else [])
    assert not marked.exists() and brought not in sys.modules
    if allowed and place == "current":
        monkeypatch.setenv("PYTHONPATH", str(folder))  # then the user has named it
        assert legorec.load(run, device="cpu", allow=[brought]).recommend([], k=1)


def test_r11_what_the_caller_has_imported_is_used(run, tmp_path, package, monkeypatch):
    monkeypatch.chdir(tmp_path / "lab")
    import_module(f"{package}.bricks")
    assert legorec.load(run, device="cpu", allow=[package]).recommend([], k=1)


@pytest.mark.parametrize(
    ("old", "new", "flags"),
    [
        ("", "", []),
        ("name: {}.bricks.Own", "name: {}.${{device}}.Own", ["--device", "cpu"]),
        ("name: {}.bricks.Own", "name: ${{seed}}{}.bricks.Own", ["--seed", "5"]),
        ("model:", "$$import: [more.yaml]\nmodel:", []),
        ("model:", "allow: [{}]\nmodel:", []),
    ],
)
def test_r11_no_way_of_writing_a_name_into_the_settings_gets_around_it(run, package, old, new, flags):
    file = run / "settings.yaml"
    text = file.read_text()
    if "import" in new:  # the name comes from a file of its own
        (run / "more.yaml").write_text(f"model: {{user_encoder: {{name: {package}.bricks.Own}}}}\n")
        text = text.replace(f"    name: {package}.bricks.Own\n", "")
    changed = text.replace(old.format(package), new.format(package), 1) if old else text
    assert not old or changed != text
    file.write_text(changed)
    with pytest.raises(SettingsError):
        read_command_line(["--settings", str(file), *flags])
    with pytest.raises(ValueError):
        legorec.load(run, device="cpu")
    assert package not in sys.modules


@pytest.mark.parametrize(
    "name",
    [
        "legorec.recipes.trained_recommender.TrainedRecommender",
        "legorec.Own",
        "os.path.Own",
        "builtins.print",
    ],
)
def test_r11_only_bricks_of_the_kind_need_no_word(run, package, name):
    rename(run, f"{package}.bricks.Own", name)
    file = run / "settings.yaml"
    with pytest.raises(SettingsError, match="is code from outside legorec"):
        read_command_line(["--settings", str(file)])
    rename(run, name, "legorec.user_encoders.nrms.NRMSUserEncoder")
    assert legorec.load(run, device="cpu").recommend([], k=1)


@pytest.mark.slow
def test_r11_a_script_in_the_folder_of_a_foreign_run(run, tmp_path, package):
    """As it would happen: Python is started where the run lies."""
    marked = tmp_path / "marked"
    write_package(run, "helper", marked)
    rename(run, package, "helper")
    program = "import legorec; legorec.load('.', device='cpu'{})"
    for more in ("", ", allow=['helper']"):
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", program.format(more)], cwd=run, env=env, capture_output=True, text=True
        )
        assert done.returncode == 1 and not marked.exists(), done.stderr
