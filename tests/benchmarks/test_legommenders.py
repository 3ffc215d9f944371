"""Both sides from raw files to a table: ours as it is, theirs by a stand-in with its command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import legommenders
from tests.support.legommenders import TRAINER, write_checkout
from tests.support.planted_files import write_mind


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MIND's planted files, in the folders that Legommenders wants."""
    folder = tmp_path_factory.mktemp("raw")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_mind(None)
    for name in ("train", "dev"):
        (folder / f"MINDsmall_{name}").rename(folder / name)
    return folder


def arguments(raw: Path, out: Path, *more: str):
    return legommenders.arguments().parse_args(["--raw", str(raw), "--out", str(out), *more])


def test_their_commands_are_pairs_of_flags(raw: Path, tmp_path: Path) -> None:
    args = arguments(
        raw, tmp_path, "--python", "py", "--model", "nrms", "--lr", "1e-4", "--", "--warmup", "3"
    )
    stages = legommenders.theirs(args)
    assert stages["process"] == ["py", "process.py", "--data", "mind"]
    assert stages["train"][:2] == ["py", "trainer.py"]
    flags = stages["train"][2:]
    found = dict(zip(flags[::2], flags[1::2], strict=True))
    assert found["--data"] == "config/data/mind.yaml" and found["--model"] == "config/model/nrms.yaml"
    assert found["--cuda"] == "-1" and found["--warmup"] == "3" and float(found["--lr"]) == 1e-4
    on_a_device = legommenders.theirs(arguments(raw, tmp_path, "--device", "cuda"))
    assert "--cuda" not in on_a_device["train"]


def test_theirs_is_run_in_its_folder_and_read(raw: Path, tmp_path: Path) -> None:
    checkout = write_checkout(tmp_path / "lego", raw)
    args = arguments(raw, tmp_path, "--legommenders", str(checkout))
    legommenders.check(arguments(raw, tmp_path / "out", "--legommenders", str(checkout)))
    side = legommenders.run_theirs(args)
    assert side.problem == "" and list(side.seconds) == ["process", "train", "rank"]
    assert side.metrics == {"gauc": 0.6123, "mrr": 0.25, "ndcg@1": 0.1, "ndcg@5": 0.3, "ndcg@10": 0.35}
    assert side.seconds["train"] >= 0.2, "what comes before testing"
    assert "[epoch 0] GAUC 0.5432" in (tmp_path / "legommenders-train.log").read_text()


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ("print('no memory'); raise SystemExit(3)", "train: status 3, no memory (see "),
        (TRAINER.replace("Training Ended", "Done"), "no line 'Training Ended' with metrics after it"),
        ("raise RuntimeError('why')", "train: status 1, RuntimeError: why (see "),
    ],
)
def test_what_fails_is_said_and_keeps_the_table(
    raw: Path, tmp_path: Path, trainer: str, message: str
) -> None:
    checkout = write_checkout(tmp_path / "lego", raw)
    (checkout / "trainer.py").write_text(trainer)
    side = legommenders.run_theirs(arguments(raw, tmp_path, "--legommenders", str(checkout)))
    assert message in side.problem
    text = legommenders.table([legommenders.Side("legorec", {"process": 1.0}, {"gauc": 0.5}), side])
    assert re.search(r"^\| legorec \| 1\.0 \|  \|  \| 1\.0 \| 0\.5000 \|", text, re.MULTILINE)
    assert f"Legommenders failed in {side.problem}" in text


def test_an_interpreter_that_is_not_there(raw: Path, tmp_path: Path) -> None:
    checkout = write_checkout(tmp_path / "lego", raw)
    args = arguments(raw, tmp_path, "--legommenders", str(checkout), "--python", str(tmp_path / "none"))
    assert "none cannot be run (No such file" in legommenders.run_theirs(args).problem


def test_what_would_fail_later_is_refused_first(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(checkout: Path, *more: str) -> str:
        argv = ["--raw", str(raw), "--out", str(tmp_path / "out"), "--legommenders", str(checkout), *more]
        assert legommenders.main(argv) == 2
        return capsys.readouterr().err

    bare = write_checkout(tmp_path / "bare", None)
    assert f"add the line 'mind = {raw.resolve()}'" in said(bare)
    (bare / ".data").write_text("mind = /elsewhere\n")
    assert "it must name the raw files" in said(bare)
    right = write_checkout(tmp_path / "right", raw)
    (right / "data" / "mind").mkdir(parents=True)
    assert "processing would not be timed; move it away" in said(right)
    (right / "trainer.py").unlink()
    assert "trainer.py: there is no such file; is it Legommenders 2?" in said(right)
    assert "--raw is MIND unpacked" in said(right, "--raw", str(tmp_path))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    assert "it is not empty" in said(right)


def test_a_dry_run_prints_both(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--raw", str(raw), "--out", str(tmp_path / "out"), "--legommenders", "somewhere", "--dry_run"]
    assert legommenders.main(argv) == 0
    text = capsys.readouterr().out
    assert all(
        part in text for part in ("process/mind.py", "worker.py", "process.py --data mind", "trainer.py")
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_both_sides_from_raw_files_to_a_table(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout = write_checkout(tmp_path / "lego", raw)
    argv = [
        "--raw", str(raw), "--out", str(tmp_path / "out"), "--legommenders", str(checkout), "--patience", "0",
        "--hidden_size", "16", "--lr", "1e-2", "--ours", "--epoch 1",
    ]  # fmt: skip
    assert legommenders.main(argv) == 0
    text = capsys.readouterr().out
    rows = [line.split("|") for line in text.splitlines() if line.startswith(("| legorec", "| Legommenders"))]
    assert len(rows) == 2 and all(float(cell) >= 0 for row in rows for cell in row[2:-1])
    assert float(rows[0][6]) > 0.6, "what is planted is learned"
    assert "What differs:" in text
