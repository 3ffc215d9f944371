"""What is installed from the wheel, in a folder without the tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support import planted_files
from tests.support.runs import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since building leaves folders beside the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("legorec", "config", "process"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    out = tmp_path_factory.mktemp("wheel")
    command = ["wheel", str(source), "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(out)]
    subprocess.run([sys.executable, "-m", "pip", *command], check=True, capture_output=True)
    (made,) = out.glob("legorec-*.whl")
    return made


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a shell that has it, and the rest of this interpreter's packages."""
    command = [
        "install",
        str(wheel),
        "--no-deps",
        "--quiet",
        "--no-index",
        "--target",
        str(tmp_path / "site"),
    ]
    subprocess.run([sys.executable, "-m", "pip", *command], check=True, capture_output=True)
    paths = f"{tmp_path / 'site' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "PATH": paths, "OMP_NUM_THREADS": "1"}


def test_it_holds_every_file_of_the_tree_once(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len(set(names))
    for folder, inside in (
        ("config", "legorec/config"),
        ("process", "legorec/process"),
        ("legorec", "legorec"),
    ):
        wanted = [*(ROOT / folder).rglob("*.yaml"), *(ROOT / folder).rglob("*.py")]
        missing = {f"{inside}/{each.relative_to(ROOT / folder).as_posix()}" for each in wanted} - set(names)
        assert not missing


def call(line: str, folder: Path, env: dict[str, str]) -> str:
    """What a line of bash prints, which must end with 0."""
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def block_of(language: str, part: str) -> str:
    """The one block of README that holds this text."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    (found,) = (text for named, text in blocks if named == language and part in text)
    return str(found)


CARRIED = """
import legorec
model = legorec.load("naml")
assert legorec.__file__.startswith({site!r}), legorec.__file__
print(len(model.recommend(["1", "5"], k=3)), len(model.recommend([], k=3)))
print(model.score(history=["1", "5"], candidates=["7", {{"title": "Toys in Space", "genres": ["Comedy"]}}]))
"""


def test_the_commands_of_readme_are_run_as_written(
    installed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a small MovieLens in the place of the one that is fetched; without a GPU, and a small embedding."""
    work, away = tmp_path / "work", tmp_path / "away"
    work.mkdir(), away.mkdir()
    monkeypatch.chdir(work)
    planted_files.write_movielens("100K")
    block = block_of("", "legorec doctor")
    left_out = ["fetch_ml100k"] + ([] if find_spec("onnxscript") and find_spec("onnxruntime") else ["graph"])
    lines = [line for line in block.splitlines() if not any(each in line for each in left_out)]
    assert len(lines) > 7
    said = {}
    for line in lines:
        runs = [*work.glob("runs/ML-100K/NAML/*")]
        line = line.partition("  #")[0].replace("runs/ML-100K/NAML/RUN", str(runs[0]) if runs else "RUN")
        said[line.split()[1]] = call(line, work, installed)
    assert str(tmp_path / "site") in said["doctor"]
    assert "next: legorec run --data data/ML-100K --model lego_naml" in said["data"]
    assert (work / "best.parquet").is_file() and "no fault found" in said["validate"]
    shutil.move(work / "models" / "naml", away / "naml")
    shutil.rmtree(work)  # neither the store nor the run
    code = CARRIED.format(site=str(tmp_path / "site"))
    told = call(f"{sys.executable} - <<'END'\n{code}\nEND", away, installed)
    assert told.splitlines()[0] == "3 3" and len(told.splitlines()) == 2


def test_the_python_of_readme_is_run_as_written(installed: dict[str, str], tmp_path: Path) -> None:
    block = block_of("python", "from_frames")
    work = tmp_path / "work"
    work.mkdir()
    assert "gauc" in call(f"{sys.executable} - <<'END'\n{block}\nEND", work, installed)


def test_from_raw_data_to_predictions_without_the_tree(installed, tmp_path):
    work = tmp_path / "work"
    work.mkdir()

    def here(line: str) -> str:
        return call(line, work, installed)

    assert str(tmp_path / "site") in here("legorec doctor")
    here("legorec data synthetic --items 60 --users 40 --impressions 200 --out data/synthetic")
    small = "--epoch 1 --batch_size 32 --hidden_size 16 --embed_hidden_size 16 --device cpu"
    here(f"legorec run --data synthetic --model lego_naml --exp tt-naml {small}")
    here(f"legorec run --data config/data/synthetic.yaml --model lego_nrms --exp tt-nrms --heads 2 {small}")
    runs = here("legorec ls runs").splitlines()
    assert len(runs) == 2 and all("test gauc" in line for line in runs)
    here(f"legorec predict {runs[0].split()[0]} --top_k 5 --out best.parquet --device cpu")
    assert (work / "best.parquet").is_file()
    asked = f"import legorec; print(len(legorec.load('{runs[0].split()[0]}').recommend([], k=3)))"
    assert here(f'{sys.executable} -c "{asked}"') == "3\n"
    launched = f"{sys.executable} -m torch.distributed.run --nproc-per-node 2 -m legorec run"
    launched += f" --data synthetic --model lego_naml --exp train {small} --seed 7"
    assert "wrote" in here(launched)
