"""Every command of ``docs/trsr.md`` as typed, from raw files to tuned models, with a server that sums up."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import pytest

import worker
from legorec.data.store import Store
from tests.docs.test_readme import commands
from tests.support import planted_files as raw
from tests.support.raw_files import ROOT
from tests.support.text_server import TextServer

PAGE = (ROOT / "docs" / "trsr.md").read_text(encoding="utf-8")
SMALL = {"epoch": 1, "epoch_batch": 3, "batch_size": 16, "hidden_size": 8, "eval_batch_size": 64}


def test_every_experiment_is_on_the_page() -> None:
    """And every data layer: the summaries of a domain are asked for in one of the two ways at least."""
    named = {part for line in commands(PAGE) for part in line}
    layers = {f"config/data/{path.name}" for path in (ROOT / "config/data").glob("trsr-*.yaml")}
    assert len(layers) == 4 and layers <= named
    assert {f"config/exp/{path.name}" for path in (ROOT / "config/exp").glob("trsr*.yaml")} <= named


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_commands_run_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    shutil.copytree(ROOT / "config", "config")
    raw.write_tables(None)
    raw.write_mind(None)
    raw.write_movielens("100K")
    raw.write_sessions(None)
    tuned = 0
    with TextServer(answer=lambda prompt: f"Likes {prompt.strip().split()[-1]} most.") as server:
        page = PAGE.replace("http://127.0.0.1:8000/v1", server.url)
        for place, (_, script, *arguments) in enumerate(commands(page)):
            if script != "worker.py":
                importlib.import_module(f"process.{Path(script).stem}").main(arguments)
                continue
            if "--model" in arguments:
                arguments += [part for name, value in SMALL.items() for part in (f"--{name}", str(value))]
                arguments += ["--runs", f"runs/{place}"]
                arguments += ["--embed_hidden_size", "8"] if "lego" in "".join(arguments) else []
                tuned += 1
            assert worker.main([*arguments, "--device", "cpu"]) == 0
        assert len(server.asked) > 100
    found = [json.loads(path.read_text()) for path in Path("runs").rglob("metrics.json")]
    assert len(found) == tuned == 7
    assert all({"recall@3", "mrr@10", "ndcg@5"} <= set(each["test"]["metrics"]) for each in found)
    for name, field in (("hier", "hierarchical"), ("rec", "recurrent"), ("step", "recurrent")):
        users = Store.open(f"data/Goodreads-trsr-{name}").users
        assert users.text_names == (field,) and all(users.text(field).take(range(5)))
