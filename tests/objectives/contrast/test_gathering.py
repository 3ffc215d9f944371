"""Gathered rows: losses and gradients of several processes are those of one with all rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from legorec.nn.drawing import drawing, entry, examples
from legorec.nn.dropout import Dropout
from legorec.objectives.contrast import Gathering, in_chunks, info_nce
from legorec.processes import ALONE, Processes
from tests.support.launching import TORCHRUN, launched

WIDTH = 5


def summed(processes: Processes, counts: list[int], size: int, direction: str, masked: bool) -> list[Tensor]:
    """The loss of a step, summed over processes, and the summed gradients, each being given its rows.

    Args:
        counts: rows of each process; one alone has all.
    """
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(WIDTH, 6), Dropout(0.3), nn.Linear(6, 3)).double()
    rows, keys = torch.randn(sum(counts), WIDTH, dtype=torch.float64), torch.arange(sum(counts)) % 5
    first = 0 if processes.world == 1 else sum(counts[: processes.rank])
    own = slice(first, sum(counts) if processes.world == 1 else first + counts[processes.rank])
    mine = rows[own]

    def view(some: slice) -> Tensor:
        with examples(entry("texts"), len(mine[some])):
            return layers(mine[some].unsqueeze(1)).squeeze(1)

    def views() -> Tensor:
        return in_chunks(view, len(mine), size) if len(mine) else torch.zeros(0, 3).double().requires_grad_()

    with drawing(1, 2, first):
        loss = info_nce(
            views(), views(), direction=direction, keys_B=keys[own] if masked else None, processes=processes
        )
    total = loss.sum()
    total.backward()
    found = [total.detach()]
    found += [torch.zeros_like(one) if one.grad is None else one.grad for one in layers.parameters()]
    for each in found:
        processes.add(each)
    return found


CASES = [
    ([4, 5], 100, "both", True),
    ([4, 5], 2, "both", True),
    ([7, 2], 3, "a", False),
    ([5, 1], 2, "b", True),
    ([0, 3], 2, "both", False),
]
PROGRAM = """
import json, sys, torch
from legorec.processes import Processes
from tests.objectives.contrast.test_gathering import CASES, summed

with Processes.launched().joined() as processes:
    found = [[each.tolist() for each in summed(processes, *case)] for case in CASES]
    if processes.is_first:
        with open(sys.argv[1], "w") as file:
            json.dump(found, file)
"""


def test_two_processes_give_losses_and_gradients_of_one(tmp_path: Path):
    script = tmp_path / "program.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(Path.cwd())!r})\n{PROGRAM}")
    process = launched([*TORCHRUN, "2", str(script), str(tmp_path / "found.json")])
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0, out
    every = json.loads((tmp_path / "found.json").read_text())
    for case, found in zip(CASES, every, strict=True):
        wanted = summed(ALONE, case[0], 100, *case[2:])
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(torch.tensor(one, dtype=torch.float64), other, rtol=0, atol=1e-10)
            assert other.any()


def test_a_process_alone_gathers_nothing():
    rows = torch.randn(3, 2)
    place = Gathering(3, ALONE)
    assert place(rows) is rows and (place.start, place.total) == (0, 3)
    with pytest.raises(ValueError, match="gathered are 3 rows, got 2"):
        place(rows[:2])
