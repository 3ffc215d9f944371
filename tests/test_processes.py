"""Several processes do what one does: the same weights and the same scores (R16)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import worker
from legorec.data.clicks import ClickStream
from legorec.processes import ALONE, Processes
from legorec.recipes.inputs.devices import choose_device
from tests.support import shared_program, small
from tests.support.launching import TORCHRUN, launched, one_thread
from tests.support.runs import ROOT, arguments, refused

LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What ``shared_program`` finds in one process."""
    folder = tmp_path_factory.mktemp("alone")
    before = shared_program.reduce.BUCKET_BYTES
    with one_thread():
        shared_program.everything(ALONE, folder)
    shared_program.reduce.BUCKET_BYTES = before
    return folder


def found_by(folder: Path, what: str, rank: int = 0) -> dict[str, torch.Tensor]:
    return load_file(folder / f"{what}-{rank}.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 3])
def test_r16_training_and_ranking_are_those_of_one_process(alone, tmp_path, number):
    process = launched([*TORCHRUN, str(number), "-m", "tests.support.shared_program", str(tmp_path)])
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0, out
    wanted, scores = found_by(alone, "train"), found_by(alone, "test")
    assert len(wanted) > 40 and len(scores) > 30
    for rank in range(number):
        weights = found_by(tmp_path, "train", rank)
        assert weights.keys() == wanted.keys()
        for name, value in wanted.items():
            close = 1e-12 if "float64" in name else 1e-6
            assert (weights[name] - value).abs().max() <= close, name
            assert torch.equal(weights[name], found_by(tmp_path, "train")[name]), name
        found = found_by(tmp_path, "test", rank)
        assert found.keys() == scores.keys()
        assert [name for name in scores if not torch.equal(found[name], scores[name])] == []
    check_facts(json.loads((alone / "facts-0.json").read_text()), tmp_path, number)


def check_facts(one: dict[str, Any], folder: Path, number: int) -> None:
    """What the processes of ``shared_program`` knew of each other, beside what one says that is alone."""
    for rank in range(number):
        facts = json.loads((folder / f"facts-{rank}.json").read_text())
        assert facts["resume"] is True
        assert facts["complaint"] == one["complaint"] != ""
        everywhere, nowhere, half, here, last = facts["gradients"][0]
        assert everywhere == [[number * (number + 1) / 2] * 3] * 2 and half == [float(number)] * 5
        assert nowhere is None and here == [[7.0] * 3] * 2 and last == [[float(number)] * 3] * 2
        assert facts["gradients"] == [facts["gradients"][0]] * 3
        assert facts["merged"][:3] == ["-0.0", "nan", "1.0"] and len(facts["merged"]) == 2 * number
        assert facts["collected"] == [{"rank": each, "text": "ä" * each} for each in range(number)]
        assert facts["first"] == [0, 0.1] and facts["sum"] == number**2 / 2 and facts["max"] == number - 1
        assert facts["asked"] == [False, True, True] and facts["signal"] == signal.SIGTERM
        assert facts["nowhere"] == "well"
        assert facts["everywhere"] == ("PeerError" if rank else "ValueError")
        assert facts["last"] == ("ValueError" if rank == number - 1 else "PeerError")
        assert facts["claims"] == 1 and facts["seeds"] == number
        assert "gloo" not in (folder / f"left-{rank}.json").read_text()


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 16])
def test_shares_and_turns_deal_out_all_of_it(world, count):
    everyone = [Processes(rank, world) for rank in range(world)]
    rows = [row for each in everyone for row in range(count)[each.share(count)]]
    assert rows == list(range(count))
    turns = [list(each.turns(count)) for each in everyone]
    assert all([turn for turn, _ in mine] == [turn for turn, _ in turns[0]] for mine in turns)
    assert sorted(page for mine in turns for _, page in mine if page is not None) == list(range(count))


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("positives_only", [True, False])
def test_shares_of_a_batch_make_up_the_batch(world, positives_only):
    settings = {"batch_size": 7, "num_negatives": 2, "positives_only": positives_only, "seed": 5}
    clicks = small.training_clicks()
    whole = ClickStream(clicks, **settings)
    shares = [ClickStream(clicks, **settings, processes=Processes(rank, world)) for rank in range(world)]
    for number in (0, whole.num_batches - 1, whole.num_batches):
        batch, parts = whole.batch(number), [each.batch(number) for each in shares]
        for name in ("labels", "candidate_mask", "user", "group", "span"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))
        shown = [part.items[part.candidates] * part.candidate_mask for part in parts if len(part.labels)]
        assert torch.equal(torch.cat(shown), batch.items[batch.candidates] * batch.candidate_mask)


def test_without_a_launcher_there_is_one_process(monkeypatch):
    for name in LAUNCHER:
        monkeypatch.delenv(name, raising=False)
    assert Processes.launched() == ALONE
    code = "import sys\nimport legorec.processes\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_half_an_environment_is_refused(store, tmp_path, monkeypatch, capsys):
    for name in LAUNCHER:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    refused(
        arguments(store, tmp_path),
        capsys,
        "does not set RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT",
        "torchrun",
    )
    monkeypatch.setenv("WORLD_SIZE", "four")
    refused(arguments(store, tmp_path), capsys, "WORLD_SIZE in the environment must be a number, got 'four'")


def test_accelerate_with_one_process_for_several_is_noted(store, tmp_path, monkeypatch, capsys):
    for name in LAUNCHER:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert worker.main([*arguments(store, tmp_path), "--dry_run", "true"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert worker.main([*arguments(store, tmp_path), "--dry_run", "true"]) == 0
    assert "accelerate launch --cpu has started one process" in capsys.readouterr().err


def test_each_process_takes_a_device_of_its_own(monkeypatch):
    third, chosen = Processes(5, 8, 2), []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert choose_device("cpu", third) == torch.device("cpu") and chosen == []
    assert [choose_device(name, third) for name in ("auto", "cuda")] == [torch.device("cuda", 2)] * 2
    assert chosen == [2, 2]
    with pytest.raises(ValueError, match="`device` must be auto, cuda or cpu for 8 processes.*got 'cuda:1'"):
        choose_device("cuda:1", third)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(
        ValueError, match="a CUDA device of its own, got 3 or more processes for 2; start fewer"
    ):
        choose_device("auto", third)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto", third) == torch.device("cpu")
