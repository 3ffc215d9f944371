"""Answers merged into a store as a stage: asked for, merged, learned from by one command."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import worker
from legorec.data.store import Store
from tests.support.generations import exp_file, written
from tests.support.runs import ROOT, only_run, refused, write_store
from tests.support.text_server import TextServer

FLAGS = {"hidden_size": 16, "embed_hidden_size": 16, "stages.learn.batch_size": 32, "stages.learn.epoch": 1}


def command(folder: Path, url: str, **more: str) -> list[str]:
    """Three stages over a small store; the last one reads the new texts."""
    exp_file(folder, url)
    merging = {"mode": "merge", "merge": {"log": "${stages.ask}", "out": str(folder / "new")}}
    learning = {"mode": "train", "policy": {"epoch": "${epoch:50}$", "batch_size": "${batch_size:64}$"}}
    stages = [
        {"name": "ask", "exp": "generate.yaml"},
        {"name": "merge", "exp": {"name": "merged", **merging}},
        {
            "name": "learn",
            "exp": {"name": "learned", **learning},
            "data": {"store": "${stages.merge}", "fields": {"newtitle@words": {"max_length": 10}}},
        },
    ]
    (folder / "exp.yaml").write_text(yaml.safe_dump({"name": "s", "mode": "train", "stages": stages}))
    given = {"data": f"{ROOT}/config/data/synthetic.yaml", "model": f"{ROOT}/config/model/lego_naml.yaml"}
    given |= {"exp": folder / "exp.yaml", "data.store": folder / "store", "runs": folder / "runs"}
    given |= {"stages.learn.data.store": "${stages.merge}", "device": "cpu"} | FLAGS | more
    return [part for key, value in given.items() for part in (f"--{key}", str(value))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_store(tmp_path / "store", num_items=40)
    return tmp_path


def test_texts_are_asked_for_merged_and_learned_from(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with TextServer(answer=written) as server:
        argv = command(folder, server.url)
        assert worker.main(argv) == 0
        asked = len(server.asked)
        assert list(Store.open(folder / "new").items.text("newtitle"))[0].startswith("better ")
        settings = yaml.safe_load((only_run(folder / "runs") / "settings.yaml").read_text())
        assert settings["data"]["store"] == str(folder / "new")
        assert "newtitle@words" in settings["data"]["fields"]
        capsys.readouterr()
        assert worker.main(argv) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 3 and all("is finished: " in line for line in out) and len(server.asked) == asked


def test_other_answers_make_the_store_anew_when_it_may_be_replaced(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with TextServer(answer=written) as server:
        argv = command(folder, server.url)
        assert worker.main([*argv, "--stage", "ask"]) == 0
        assert worker.main([*argv, "--stage", "merge"]) == 0
        before = Store.open(folder / "new").digest
        log = folder / "answers.jsonl"
        log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
        refused([*argv, "--stage", "merge"], capsys, "overwrite")
        assert worker.main([*argv, "--stage", "merge", "--overwrite", "true"]) == 0
    assert Store.open(folder / "new").digest != before


def test_a_scheme_that_no_run_left_is_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "log.txt").write_text("i1\t[newtitle] One\n")
    exp_file(folder, "http://127.0.0.1:9/v1")
    exp = folder / "merge.yaml"
    block = {"log": str(folder / "log.txt"), "out": str(folder / "new")}
    exp.write_text(yaml.safe_dump({"name": "m", "mode": "merge", "merge": block}))
    data = ["--data", f"{ROOT}/config/data/synthetic.yaml", "--data.store", str(folder / "store")]
    alone = [*data, "--exp", str(exp)]
    refused(alone, capsys, "log.settings.yaml", "exp.merge.scheme")
    assert worker.main([*alone, "--exp.merge.scheme", str(folder / "generate.yaml")]) == 0
    assert list(Store.open(folder / "new").items.text("newtitle"))[1] == "One"
