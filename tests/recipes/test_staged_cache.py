"""A cache as a stage: written, then read by the stage that trains; nothing is written twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import worker
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.runs import ROOT, only_run, run_folders


def test_what_a_stage_caches_the_next_one_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    llama = write_language_model(tmp_path / "llama", "llama").folder
    store = write_language_store(tmp_path / "store", llama=llama)
    stages = [
        {"name": "states", "exp": [f"{ROOT}/config/exp/llama-split.yaml", {"cache": {"layers": [-1]}}]},
        {
            "name": "learn",
            "exp": {"policy": {"epoch": 1}},
            "model": {"source": {"cache": "${stages.states}"}},
        },
    ]
    exp = {"name": "s", "mode": "train_test", "metrics": ["gauc"], "baselines": ["random"], "stages": stages}
    (tmp_path / "exp.yaml").write_text(yaml.safe_dump(exp))
    argv = language_arguments(store, llama, tmp_path / "cache", tmp_path / "runs", "llama-naml", "tt-llm")
    kept = [*argv[: argv.index("--epoch")], "--exp.evaluation.batch_size", "8"]
    kept[kept.index("--exp") + 1] = str(tmp_path / "exp.yaml")
    kept += ["--stages.states.layer", "0", "--stages.states.lora", "false", "--stages.learn.layer", "-1"]
    kept += ["--stages.learn.exp.policy.item_lr", "1e-4"]
    assert worker.main([*kept, "--stage", "learn"]) == 2
    assert "which stage states makes and which is not there" in capsys.readouterr().err
    assert worker.main(kept) == 0
    saved = yaml.safe_load((only_run(tmp_path / "runs") / "settings.yaml").read_text())
    assert saved["model"]["source"]["cache"] == str(tmp_path / "cache")
    assert saved["stages"][str(tmp_path / "cache")].startswith("stage ")
    capsys.readouterr()
    assert worker.main(kept) == 0
    assert capsys.readouterr().out.count("is finished: ") == 2
    # Cut in the middle, it is written on, and what was learned from it stays.
    (shard,) = (tmp_path / "cache").rglob("shard-*.safetensors")
    shard.unlink()
    assert worker.main(kept) == 0
    out = capsys.readouterr().out
    assert out.count("is finished: ") == 1 and "stage states (1 of 2), cache: " in out and shard.is_file()
    assert len(run_folders(tmp_path / "runs")) == 1
