"""What README says can be done: its Python blocks run, its commands are read, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from legorec.program import COMMANDS
from legorec.program.data import processors
from legorec.program.predict import arguments as predicting
from legorec.settings import read_command_line

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commands(text: str) -> list[list[str]]:
    """The Python commands that a page names, as a shell would split them, with its variables filled in."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    text = "\n".join(block for language, block in blocks if not language).replace("\\\n", " ")
    for name, value in re.findall(r'^(\w+)="(.*)"$', text, flags=re.MULTILINE):
        text = text.replace(f"${name}", value)
    return [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("python ")]


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_config_files_and_scripts_that_pages_name_exist(page: Path) -> None:
    named = re.findall(r"\b(?:config|process)/[\w/.-]+\.(?:yaml|py)\b", page.read_text(encoding="utf-8"))
    there = [name for name in named if "/D.yaml" not in name and not re.search(r"/[MEB]\.yaml$", name)]
    assert [name for name in there if not (ROOT / name).is_file()] == []


def test_worker_commands_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = commands(README)
    modes = [read_command_line(command[2:]).exp.mode for command in found if command[1] == "worker.py"]
    assert sorted(modes) == ["cache", "train_test", "train_test"]
    rows = [part.partition("=")[2] for command in found for part in command if re.match(r"[^=]+=--", part)]
    assert rows and all(read_command_line(shlex.split(row)).exp.mode == "train_test" for row in rows)


def test_commands_of_legorec_are_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = [shlex.split(line, comments=True) for line in README.splitlines() if line.startswith("legorec ")]
    assert {line[1] for line in lines} <= set(COMMANDS) and len(lines) > 4
    monkeypatch.chdir(tmp_path)
    found = [read_command_line(line[2:]) for line in lines if line[1] in ("run", "validate")]
    assert [each.model.name for each in found] == ["NAML", "NAML"]
    assert all(line[2] in processors() for line in lines if line[1] == "data")
    assert all(predicting().parse_args(line[2:]).top_k for line in lines if line[1] == "predict")


def test_a_brick_alone_and_metrics_run_as_written() -> None:
    brick = next(block for block in blocks("python") if "NRMSUserEncoder" in block)
    metrics = next(block for block in blocks("python") if "Ranking(" in block)
    # In one process, each with nothing of the other: importing torch is what takes time.
    blocks_run = [brick + "print(tuple(users.shape))", metrics.partition("store = ")[0]]
    shape, *report = run("\n".join(f"exec({block!r}, {{}})" for block in blocks_run)).splitlines()
    assert shape == "(2, 64)" and "gauc" in "".join(report)
