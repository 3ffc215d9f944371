"""Frozen weights spread over processes: the result of one, with half of the memory."""

import json

import pytest
import torch
from safetensors.torch import load_file

from legorec.processes import ALONE
from tests.support import spread_program
from tests.support.launching import TORCHRUN, launched, one_thread
from tests.support.tiny import random_model


@pytest.mark.slow
@pytest.mark.timeout(300)  # on a busy machine torch takes half a minute to import
def test_two_processes_train_and_score_as_one_and_hold_half(tmp_path):
    """Whatever numbers of rows and of groups each has; and all end with status 0."""
    checkpoint = tmp_path / "llama"
    random_model("llama", head=True).save_pretrained(checkpoint)
    with one_thread():
        spread_program.everything(checkpoint, tmp_path / "one", ALONE)
    program = [*TORCHRUN, "2", "-m", "tests.support.spread_program"]
    process = launched([*program, str(checkpoint), str(tmp_path / "two")])
    out, _ = process.communicate(timeout=280)
    assert process.returncode == 0, out
    wanted = load_file(tmp_path / "one" / "found-0.safetensors")
    for rank in range(2):
        found = load_file(tmp_path / "two" / f"found-{rank}.safetensors")
        assert found.keys() == wanted.keys() and len(found) > 30
        for name, value in wanted.items():
            assert (found[name] - value).abs().max() <= 1e-5, name
        held = json.loads((tmp_path / "two" / f"held-{rank}.json").read_text())
        assert all(0.45 < share < 0.6 for share in held.values()), held
    for case in spread_program.CASES:
        assert not torch.equal(wanted[f"{case}/before"], wanted[f"{case}/after"])
