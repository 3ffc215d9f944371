"""``docs/add-a-processor.md`` as it is written: its file, its commands, the layer, and a trained model."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from legorec.data.store import Store
from legorec.program.worker import main as work
from tests.support.raw_files import history
from tests.support.runs import ROOT

PAGE = (ROOT / "docs" / "add-a-processor.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w.]+)`\n```\w+\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
MAKE, TRAIN = (text for language, text in BLOCKS if not language)
(LAYER,) = (text for language, text in BLOCKS if language == "yaml")


@pytest.fixture
def station(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert set(FILES) == {"songs.txt", "plays.log", "radio.py"}
    (tmp_path / "radio.py").write_text(FILES["radio.py"])
    (tmp_path / "radio").mkdir()
    songs = "".join(f"s{k}|Song number {k}|{'calm,piano' if k % 2 else 'fast'}\n" for k in range(3, 41))
    plays = "".join(
        f"2024-05-{1 + n:02d}T0{u}:00:00Z|u{u}|s{(u * 7 + n * 3) % 40 + 1}|{'full' if n % 4 else 'skipped'}\n"
        for u in range(8)
        for n in range(8)
    )
    (tmp_path / "radio" / "songs.txt").write_text(FILES["songs.txt"] + songs)
    (tmp_path / "radio" / "plays.log").write_text(FILES["plays.log"] + plays)
    return tmp_path


def call(line: str) -> subprocess.CompletedProcess[str]:
    python, *argv = shlex.split(line)
    assert python == "python"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *argv], env=env, capture_output=True, text=True)


def test_from_raw_files_to_a_model(station: Path) -> None:
    done = call(MAKE)
    assert done.returncode == 0, done.stderr
    store = Store.open("data/radio")
    assert len(store.items) == 40 and store.items.field_names == ("title@words", "moods")
    assert history(store, "test", 0)[-1] != "s2", "a song that was skipped is no like"
    assert Path("data/radio/data.yaml").read_text().endswith(LAYER)
    assert done.stdout.splitlines()[-1] == f"next: {TRAIN.strip()}"
    assert work(shlex.split(TRAIN)[2:]) == 0
    assert len([*station.glob("runs/radio/NAML/*/metrics.json")]) == 1


def test_what_is_wrong_is_one_line(station: Path) -> None:
    log = station / "radio" / "plays.log"
    log.write_text(log.read_text() + "yesterday|ada|s1|full\n")
    done = call(MAKE)
    assert done.returncode == 2 and not Path("data/radio").exists()
    assert "plays.log: line 67: time must be a time in ISO 8601" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("got 'yesterday'; 1 malformed line in all")
