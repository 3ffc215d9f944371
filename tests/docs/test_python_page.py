"""Every block of ``docs/python.md``, run in order in one folder."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import legorec
from legorec.settings import read_command_line
from legorec.settings.resolved import run_path
from tests.support.runs import ROOT

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python ?(\w*)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_page_is_run_from_tables_to_recommendations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) >= 7
    names: dict[str, Any] = {}
    for needs, code in BLOCKS:
        if not needs or find_spec(needs) is not None:
            exec(compile(code, str(ROOT / "docs" / "python.md"), "exec"), names)
    run = names["run"]
    assert len(run.curve) == 3 and run.curve[run.best_epoch]["gauc"] == max(row["gauc"] for row in run.curve)
    assert run.seconds > 0 and set(run.test) == set(run.dev) == {"gauc", "mrr", "ndcg@5", "ndcg@10"}
    assert run.dev["gauc"] == legorec.evaluate(run, "dev").dev["gauc"]
    assert legorec.Run.open(run.path).seconds is None
    if find_spec("pandas") is not None:
        before, after = names["before"], names["after"]
        assert after.test["gauc"] > before.test["gauc"] and names["recommender"].num_items == 62
        log = [(each.path / "run.log").read_text() for each in (after, names["again_by_id"], names["again"])]
        assert "topic: 4 kept, 0 new" in log[0] and "topic: 4 kept, 1 new" in log[2]
        assert "items: 60 kept, 2 new" in log[1]
    # What was built in Python and left half-said is loaded like any other.
    saved = [path for path in (tmp_path / "runs/stories/mine").glob("*/settings.yaml")]
    settings = read_command_line(["--settings", str(saved[0])])
    assert (
        settings.model.user_encoder.arguments["heads"] == 8
        and run_path(settings).name == saved[0].parent.name
    )
    assert legorec.load(saved[0].parent).recommend(["3"], k=2)


def test_the_page_names_what_is_public() -> None:
    line = PAGE[PAGE.index("What is public") :].split(". ")[0]
    assert set(re.findall(r"`(\w+)`", line)) == set(legorec.__all__)
    assert all(callable(getattr(legorec, name)) for name in legorec.__all__)
    assert set(legorec.__all__) <= set(dir(legorec))
    with pytest.raises(AttributeError, match="has no attribute 'trian'; public are"):
        legorec.trian  # noqa: B018


def test_importing_legorec_imports_nothing_heavy() -> None:
    code = "import sys, legorec; print(sorted({'torch', 'polars', 'numpy', 'pydantic'} & set(sys.modules)))"
    before = time.process_time()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]" and time.process_time() - before < 1
