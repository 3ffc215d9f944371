"""The benchmark of learning, on a tiny store: its own bricks, its tables, and what it trains once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from benchmarks import learning
from benchmarks.plain_bricks import OnePoolItemEncoder, PlainSource
from legorec.batch import TokenStates
from tests.support.bricks import catalog
from tests.support.runs import ROOT, write_store

SMALL = ["--batch_size", "16", "--hidden_size", "16", "--embed_hidden_size", "16", "--device", "cpu"]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(ROOT)
    store = write_store(tmp_path / "store")
    argv = ["--data", "config/data/synthetic.yaml", "--runs", str(tmp_path / "runs"), "--steps", "2"]
    argv += ["--seed", "1", "--seed", "2", "--metric", "gauc", "--metric", "mrr"]
    return [*argv, "--model", "lego_naml", "--", *SMALL, "--data.store", str(store)]


def test_the_plain_source_is_wide_and_its_items_are_in_one_mean() -> None:
    torch.manual_seed(0)
    source = PlainSource(catalog(), 32)
    assert source.table.learned.std().item() == pytest.approx(1.0, rel=0.1)
    states = source(torch.arange(12))
    encoder = OnePoolItemEncoder(32, source.field_kinds, hidden_dim=8).eval()
    vectors = encoder(states)
    assert (vectors < 0).any() and not vectors[3].any()  # item 3 has no token
    one = TokenStates(states.values.split(states.lengths.sum(1).tolist())[5], states.lengths[5:6])
    torch.testing.assert_close(encoder(one), vectors[5:6])


def tables(command: list[str], out: Path) -> str:
    """What the command gives."""
    assert learning.main(["--out", str(out), *command]) == 0
    return out.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_table_of_both_forms_and_no_second_training(command: list[str], tmp_path: Path) -> None:
    first = tables(command, tmp_path / "out.md")
    assert re.findall(r"^\| (\w+) \| now \| plain \| now − plain \|$", first, re.M) == ["gauc", "mrr"]
    assert (
        len(re.findall(r"^\| lego_naml \| .+ ± .+ \| .+ ± .+ \| [+-]0\.\d+ \(p .+\) \|$", first, re.M)) == 2
    )
    assert first.count("| random |") == first.count("| popularity |") == 2
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("metrics.json")}
    assert len(made) == 4
    assert tables(command, tmp_path / "again.md") == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("metrics.json")} == made


@pytest.mark.slow
def test_another_checkout_runs_with_its_own_worker(command: list[str], tmp_path: Path) -> None:
    """The same checkout, as another one: no user gains anything."""
    argv = ["--before", str(ROOT), "--no_plain", "--end", "--epoch 1", *command]
    said = tables(argv, tmp_path / "out.md")
    assert re.findall(r"^### synthetic, (.+)$", said, re.M) == ["after 2 steps", "at the end"]
    same = r"^\| lego_naml \| (.+) \| \1 \| \+0\.0000 \(p = 1\) \|$"
    assert len(re.findall(same, said, re.M)) == 4
    argv[argv.index("--steps") + 1] = "0"
    end = tables(argv, tmp_path / "end.md")
    assert end == said[said.index("### synthetic, at the end") :]


def test_what_can_be_mended_is_told(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert learning.main(["--before", str(tmp_path), *command]) == 2
    assert f"--before {tmp_path}: it has no worker.py" in capsys.readouterr().err
    assert learning.main([command[0], command[1], "--seed", "1", "--steps", "0"]) == 2
    assert "--steps 0 leaves nothing to train" in capsys.readouterr().err
    assert learning.main([*command, "--lrr", "1"]) == 2
    assert "did you mean '--lr'" in capsys.readouterr().err
