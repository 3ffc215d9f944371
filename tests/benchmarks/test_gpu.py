"""The command for whoever has a GPU runs, and says so where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from legorec.data.store import Store
from process import synthetic
from tests.support.stand_in import StandIn, available


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU here")
def test_where_there_is_no_gpu_one_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    out, err = capsys.readouterr()
    assert not out and len(err.splitlines()) == 1
    assert err.startswith("no GPU here (torch ") and "--device cpu --quick" in err


@pytest.mark.slow
def test_the_page_on_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--device", "cpu", "--quick"]) == 0
    out = capsys.readouterr().out
    assert out.index("# legorec on the CPU") < out.index("| naml | fp32 |") < out.index("The cache run of")
    assert "| nrms | bf16 autocast |" in out and "- in 4" in out
    assert out.splitlines()[-1].startswith("Measured on the CPU, to try the command out")


@pytest.mark.slow
@pytest.mark.skipif(not available(), reason="this torch has no backends in Python")
def test_waits_on_the_stand_in(tmp_path: Path) -> None:
    """An epoch waits for what is not finite and for its loss; ranking for its scores."""
    synthetic.main(["--out", str(tmp_path / "store"), *gpu.SMALL_STORE])
    with StandIn() as device:

        def count(run: Callable[[], Any]) -> int:
            before = sum(device.waits.values())
            run()
            return sum(device.waits.values()) - before

        figures = gpu.measure("naml", Store.open(tmp_path / "store"), device.device, True, 2, count)
    assert figures.waits_of_epoch == 2 and figures.waits_of_ranking == 1 and figures.peak is None
    assert figures.row().startswith("| naml | bf16 autocast | ")
