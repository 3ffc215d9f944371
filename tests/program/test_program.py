"""The command ``legorec``: what it lists, shows and refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import legorec
from legorec.program import COMMANDS, main
from legorec.program.data import processors
from tests.support.runs import ROOT, arguments


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(list(argv)) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(list(argv)) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1
    return captured.err


def test_help_names_every_command_and_the_version_is_the_packages(capsys):
    text = said(capsys, "--help")
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert said(capsys, "--version") == f"legorec {legorec.__version__}\n"


@pytest.mark.parametrize(
    ("argv", "answer"),
    [
        (["rnu"], "did you mean 'run'"),
        (["ls", "modles"], "did you mean 'models'"),
        (["show", "lego_namll"], "did you mean 'lego_naml'"),
        (["show"], "name one thing"),
        (["show", "user_encoder", "nrmss"], "nrms"),
        (["data", "mnd"], "did you mean 'mind'"),
        (["completion", "fish"], "bash or zsh"),
        (["doctor", "now"], "takes nothing"),
        (["validate", "nowhere"], "nowhere"),
        (["predict", "nowhere", "--out", "a.parquet"], "nowhere"),
        (["predict", "nowhere", "--out", "a.txt"], "ends in none of"),
        (["save", "nowhere", "--out", "a"], "nowhere"),
    ],
)
def test_what_cannot_be_is_one_line_with_a_way_out(capsys, argv, answer):
    assert answer in refused(capsys, *argv)


def test_every_processor_is_listed_with_a_sentence(capsys):
    lines = said(capsys, "data").splitlines()[2:]
    assert [line.split()[0] for line in lines] == list(processors())
    assert all(len(line.split()) > 2 for line in lines)


def test_a_processor_runs_by_its_name_in_any_case(tmp_path):
    command = [sys.executable, "-m", "legorec", "data", "Synthetic"]
    small = ["--items", "50", "--users", "20", "--impressions", "40", "--out", str(tmp_path / "store")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *small], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "50 items, 20 users" in done.stdout
    bad = subprocess.run(
        [*command, "--nonsense", "1"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert bad.returncode == 2 and "usage: legorec data synthetic" in bad.stderr


def test_ls_and_show_say_what_is_there(capsys, monkeypatch, store, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("config/model").mkdir(parents=True)
    Path("config/model/mine.yaml").write_text("# One of my own.\n$$import: parts/tokens.yaml\nname: mine\n")
    Path("data").mkdir()
    Path("data/tiny").symlink_to(store)
    assert "One of my own." in said(capsys, "ls", "models")
    assert said(capsys, "ls", "stores") == "data/tiny\n"
    assert said(capsys, "ls", "runs") == "no runs here\n"
    assert "name: mine" in said(capsys, "show", "mine")
    assert "NRMSUserEncoder" in said(capsys, "show", "user_encoder", "nrms")
    assert "items" in said(capsys, "show", "data/tiny")


def test_validate_reads_a_store_and_builds_what_the_settings_name(capsys, store, tmp_path):
    assert said(capsys, "validate", str(store)).endswith("no fault found\n")
    assert "no fault found: NRMS" in said(capsys, "validate", *arguments(store, tmp_path))
    assert not list(tmp_path.iterdir())  # nothing was run
    assert main(["validate", *arguments(store, tmp_path, hidden_size=17)]) == 2
    assert "heads" in capsys.readouterr().err


def test_predict_writes_one_file_from_the_run_alone(capsys, done, tmp_path):
    out = tmp_path / "made" / "best.parquet"
    assert "wrote" in said(capsys, "predict", str(done), "--top_k", "3", "--out", str(out), "--device", "cpu")
    found = pl.read_parquet(out)
    assert found.group_by("user").len()["len"].max() == 3 and set(found["rank"]) == {1, 2, 3}
    assert [each.name for each in out.parent.iterdir()] == ["best.parquet"]
    assert "--overwrite" in refused(capsys, "predict", str(done), "--out", str(out))
    scores = tmp_path / "scores.csv"
    said(capsys, "predict", str(done), "--out", str(scores), "--device", "cpu")
    assert pl.read_csv(scores)["score"].is_finite().all()


def test_save_writes_a_model_that_is_loaded_without_the_store(capsys, done, tmp_path):
    out = tmp_path / "model"
    text = said(capsys, "save", str(done), "--out", str(out))
    assert f"wrote {out}: a model of " in text and "without users or histories" in text
    found = legorec.load(out, device="cpu").recommend(["i1"], k=3)
    assert found == legorec.load(done, device="cpu").recommend(["i1"], k=3)
    assert "--overwrite" in refused(capsys, "save", str(done), "--out", str(out))
    assert "wrote" in said(capsys, "save", str(out), "--out", str(out), "--overwrite")  # a saved model too


def test_doctor_lists_devices_and_extras(capsys):
    text = said(capsys, "doctor")
    assert f"legorec {legorec.__version__}" in text and "  cpu" in text and "  torch" in text


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (["mod"], []),
        (["val"], ["validate"]),
        (["run", "--model", "lego_na"], ["lego_naml", "lego_naml_id", "lego_narm", "lego_narm_id"]),
        (["run", "--model", "my_"], ["my_model"]),
        (["run", "--exp.policy.pat"], ["--exp.policy.patience"]),
        (["run", "--ov"], ["--overwrite"]),
        (["data", "mo"], ["movielens"]),
        (["ls", "br"], ["bricks"]),
        (["save", "--ep"], ["--epoch"]),
    ],
)
def test_bash_completes_without_python(tmp_path, capsys, typed, completed):
    script = tmp_path / "legorec.bash"
    script.write_text(said(capsys, "completion", "bash"))
    (tmp_path / "config" / "model").mkdir(parents=True)
    (tmp_path / "config" / "model" / "my_model.yaml").write_text("name: mine\n")
    words = " ".join(["legorec", *typed])
    asked = f"COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _legorec"
    ask = f"source {script}; {asked}; printf '%s\\n' ${{COMPREPLY[@]}}"
    done = subprocess.run(
        ["bash", "--norc", "-c", ask],
        cwd=tmp_path,
        env={"PATH": "/bin:/usr/bin"},
        capture_output=True,
        text=True,
    )
    assert done.stderr == "" and done.stdout.split() == completed


def test_a_reader_that_leaves_is_no_traceback(store, tmp_path):
    flags = " ".join(arguments(store, tmp_path))
    for command in (f"worker.py {flags} --dry_run true", "-m legorec ls bricks", "process/tables.py --help"):
        line = f"{sys.executable} {command} | head -1"
        done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True)
        assert done.stderr == "" and len(done.stdout.splitlines()) == 1


def test_python_dash_m_ends_with_the_status():
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "legorec",
            "run",
            "--model",
            "lego_namll",
            "--data",
            "synthetic",
            "--exp",
            "train",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "did you mean 'lego_naml'" in done.stderr
