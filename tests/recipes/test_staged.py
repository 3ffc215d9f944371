"""A run in stages, TALLRec's two: tuned on instructions, then on recommendations from its adapter."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

import worker
from legorec.data.text import TokenizerChoice
from legorec.data.tokenizations import add_tokenization
from tests.faults.test_resume import KILL_AFTER_STEP, send_at
from tests.recipes.test_prompted_checkpoint import SHORT
from tests.support.causal import byte_level
from tests.support.launching import one_thread, shared
from tests.support.prompted import marked_store
from tests.support.runs import ROOT, differences, finish, last_state, refused, run_folders, start
from tests.support.tiny import random_model

# The example of docs/configuration.md; here both data sets are of the same form.
STAGES = f"""\
name: tallrec-stages
stages:
- name: instruct
  exp: {ROOT}/config/exp/tallrec.yaml
  data: {{name: Instructions, store: STORE}}
- name: recommend
  exp: {ROOT}/config/exp/tallrec.yaml
  flags: {{adapter: "${{stages.instruct}}/adapter"}}
"""
STEPS = 8  # of the first stage; the second has as many
SMALL = {"epoch": 2, "batch_size": 16, "lr": 1e-2, "lora_r": 2, "save_every": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with its tokenizer, a store for each stage, and the file with the stages."""
    folder = tmp_path_factory.mktemp("staged")
    random_model("llama", head=True, vocab_size=400, max_position_embeddings=600).save_pretrained(
        folder / "llama"
    )
    byte_level().save(str(folder / "llama/tokenizer.json"))
    for seed, name in enumerate(("movies", "instructions")):
        marked_store(folder / name, seed, num_users=20, examples=3)
        add_tokenization(folder / name, "name", TokenizerChoice("llama", folder / "llama"))
    (folder / "stages.yaml").write_text(STAGES.replace("STORE", str(folder / "instructions")))
    return folder


def command(folder: Path, runs: Path, exp: Path | None = None, **flags: Any) -> list[str]:
    files = {"data": "data/tallrec-movie", "model": "model/tallrec-lora"}
    given = {name: f"{ROOT}/config/{file}.yaml" for name, file in files.items()}
    given |= {"exp": exp or folder / "stages.yaml", "runs": runs, "device": "cpu"}
    given |= {"lm_path": folder / "llama", "model.prompt.segments": SHORT}
    given |= {"stages.recommend.data.store": folder / "movies"} if exp is None else {}
    given |= SMALL | {key.replace("__", "."): value for key, value in flags.items()}
    return [part for key, value in given.items() for part in (f"--{key}", str(value))]


def of_stages(runs: Path) -> tuple[Path, Path]:
    """The folders of both stages."""
    folders = {folder.parents[1].name: folder for folder in run_folders(runs)}
    assert set(folders) == {"Instructions", "TALLRec-movie"}
    return folders["Instructions"], folders["TALLRec-movie"]


@pytest.fixture(scope="module")
def straight(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs that were left alone."""
    runs = tmp_path_factory.mktemp("runs")
    with one_thread():
        assert worker.main(command(folder, runs)) == 0
    return runs


def same(one: Path, other: Path) -> None:
    for mine, theirs in zip(of_stages(one), of_stages(other), strict=True):
        assert mine.name == theirs.name and differences(mine, theirs) == []


def test_the_second_stage_goes_on_from_the_adapter_of_the_first(straight: Path) -> None:
    first, second = of_stages(straight)
    assert (first / "adapter/adapter_model.safetensors").is_file()
    saved = [yaml.safe_load((each / "settings.yaml").read_text()) for each in (first, second)]
    assert saved[1]["model"]["language_model"]["lora"]["adapter"] == f"{first}/adapter"
    assert list(saved[1]["stages"]) == [str(first)] and "stages" not in saved[0]


def test_finished_stages_are_one_line_each(
    folder: Path, straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in straight.rglob("*")}
    assert worker.main(command(folder, straight)) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 2 and all("is finished: " in line for line in out)
    assert {path: path.stat().st_mtime_ns for path in straight.rglob("*")} == before


def test_each_stage_alone_is_its_part_of_the_whole(folder: Path, straight: Path, tmp_path: Path) -> None:
    with one_thread():
        for name in ("instruct", "recommend"):
            assert worker.main(command(folder, tmp_path, stage=name)) == 0
    same(straight, tmp_path)


def test_what_an_earlier_stage_has_not_made_is_missed_when_it_is_needed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(
        command(folder, tmp_path, stage="recommend"),
        capsys,
        "stage recommend reads ",
        "/adapter (model.language_model.lora.adapter), which stage instruct makes and which is not there",
        "--stage instruct",
    )
    assert not run_folders(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [5, STEPS + 5])
def test_a_killed_run_goes_on_in_the_middle_of_a_stage(
    folder: Path, straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], steps: int
) -> None:
    argv = command(folder, tmp_path)
    killed = start(argv, code=KILL_AFTER_STEP.format(steps))
    killed.communicate(timeout=100)
    assert killed.returncode == -signal.SIGKILL
    finished = [
        folder.parents[1].name for folder in run_folders(tmp_path) if (folder / "metrics.json").exists()
    ]
    assert finished == (["Instructions"] if steps > STEPS else [])
    refused(argv, capsys, "was stopped before its end", "--resume true")
    with one_thread():
        assert worker.main([*argv, "--resume", "true"]) == 0
    out = capsys.readouterr().out
    assert out.count("resumed at batch") == 1
    assert ("stage instruct (1 of 2) is finished" in out) == (steps > STEPS)
    same(straight, tmp_path)


def test_ctrl_c_says_how_to_go_on(
    folder: Path,
    straight: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    argv = command(folder, tmp_path)
    with monkeypatch.context() as patched, one_thread():
        send_at(patched, signal.SIGINT, STEPS + 3)
        assert worker.main(argv) == 130
    assert "go on with the same command and --resume true" in capsys.readouterr().err
    with one_thread():
        assert worker.main([*argv, "--resume", "true"]) == 0
    same(straight, tmp_path)


def test_the_saved_settings_of_a_stage_run_again(straight: Path, tmp_path: Path) -> None:
    second = of_stages(straight)[1]
    with one_thread():
        again = finish(
            ["--settings", str(second / "settings.yaml"), "--runs", str(tmp_path), "--device", "cpu"]
        )
    assert again.name == second.name and differences(second, again) == []


def test_one_stage_is_the_run_without_stages(folder: Path, straight: Path, tmp_path: Path) -> None:
    exp = ROOT / "config/exp/tallrec.yaml"
    own = {"data.name": "Instructions", "data.store": folder / "instructions"}
    with one_thread():
        plain = finish(command(folder, tmp_path, exp, **own))
    first = of_stages(straight)[0]
    assert plain.name == first.name and differences(plain, first) == []


def test_a_dry_run_prints_all_stages_and_does_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert worker.main(command(folder, tmp_path / "runs", dry_run="true")) == 0
    out = capsys.readouterr().out
    for text in ("stage instruct, train_test: ", "stage recommend, train_test: "):
        assert text + str(tmp_path / "runs") in out
    assert out.count("exp.policy.lr ") == 2 and not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_two_processes_share_every_stage(folder: Path, straight: Path, tmp_path: Path) -> None:
    status, out = shared(2, command(folder, tmp_path))
    assert status == 0, out
    assert out.count("stage instruct (1 of 2), train_test") == 1  # the first process alone says it
    for mine, theirs in zip(of_stages(tmp_path), of_stages(straight), strict=True):
        assert mine.name == theirs.name
        one, other = (last_state(each).tensors["weights"] for each in (mine, theirs))
        assert all((value - other[name]).abs().max() <= 1e-4 for name, value in one.items())
    status, out = shared(2, command(folder, tmp_path))
    assert status == 0 and out.count("is finished: ") == 2, out
