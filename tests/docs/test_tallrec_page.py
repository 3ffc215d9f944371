"""Every run of ``docs/tallrec.md`` is understood as typed, and TALLRec's configurations stand in a page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from legorec.settings import read_stages
from tests.docs.test_readme import ROOT, commands

PAGE = (ROOT / "docs" / "tallrec.md").read_text(encoding="utf-8")
BESIDE = (ROOT / "docs" / "prompted.md").read_text(encoding="utf-8")
RUNS = [line[2:] for line in commands(PAGE) if line[1] == "worker.py"]
VECTORS = (
    "name: tallrec-minilm\ntables:\n- {vocabulary: items, path: data/embed/tallrec-minilm.safetensors}\n"
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configurations, with the layer and the table that a command of the page writes."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "config" / "embed" / "tallrec-minilm.yaml").write_text(VECTORS)
    (tmp_path / "data" / "embed").mkdir(parents=True)
    (tmp_path / "data" / "embed" / "tallrec-minilm.safetensors").touch()
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("here")
def test_runs_are_understood() -> None:
    assert len(RUNS) > 7
    found = [stage.settings for argv in RUNS for stage in read_stages(argv)]
    assert {each.exp.mode for each in found} == {"train", "train_test", "test"}
    assert {each.data.shots for each in found} == {None, 16, 64, 256, 1000}


def test_every_configuration_is_named() -> None:
    files = [path for path in (ROOT / "config").rglob("*tallrec*.yaml") if "parts" not in path.parts]
    shown = {path.name for path in files if str(path.relative_to(ROOT)) in PAGE + BESIDE}
    like = {"tallrec-caser.yaml", "tallrec-sasrec.yaml"}  # as tallrec-gru4rec
    like |= {"tallrec-json-lora.yaml", "tallrec-domains-lora.yaml"}  # as those from scratch
    assert len(files) > 10 and {path.name for path in files} == shown | like
