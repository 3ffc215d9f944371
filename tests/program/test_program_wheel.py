"""What is installed from the wheel, in a folder without the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.runs import ROOT

pytestmark = pytest.mark.slow


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


def test_from_raw_data_to_predictions_without_the_tree(installed, tmp_path):
    work = tmp_path / "work"
    work.mkdir()

    def call(line: str) -> str:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=work,
            env=installed,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert str(tmp_path / "site") in call("legorec doctor")
    call("legorec data synthetic --items 60 --users 40 --impressions 200 --out data/synthetic")
    small = "--epoch 1 --batch_size 32 --hidden_size 16 --embed_hidden_size 16 --device cpu"
    call(f"legorec run --data synthetic --model lego_naml --exp tt-naml {small}")
    call(f"legorec run --data config/data/synthetic.yaml --model lego_nrms --exp tt-nrms --heads 2 {small}")
    runs = call("legorec ls runs").splitlines()
    assert len(runs) == 2 and all("test gauc" in line for line in runs)
    call(f"legorec predict {runs[0].split()[0]} --top_k 5 --out best.parquet --device cpu")
    assert (work / "best.parquet").is_file()
    asked = f"import legorec; print(len(legorec.load('{runs[0].split()[0]}').recommend([], k=3)))"
    assert call(f'{sys.executable} -c "{asked}"') == "3\n"
    launched = f"{sys.executable} -m torch.distributed.run --nproc-per-node 2 -m legorec run"
    launched += f" --data synthetic --model lego_naml --exp train {small} --seed 7"
    assert "wrote" in call(launched)
