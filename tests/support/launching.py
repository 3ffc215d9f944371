"""The worker in several processes, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from tests.support.runs import ROOT

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def launched(command: list[str], **env: str) -> subprocess.Popen[str]:
    """A launcher and its processes; all they say comes in one stream."""
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def shared(number: int, argv: list[str]) -> tuple[int, str]:
    """Status and output of the worker in several processes."""
    process = launched([*TORCHRUN, str(number), "worker.py", *argv])
    out, _ = process.communicate(timeout=100)
    return process.returncode, out


def prepared(folder: Path, code: str, number: int, argv: list[str]) -> subprocess.Popen[str]:
    """The worker in several processes, after some code that knows its ``rank``."""
    script = folder / "prepared.py"
    start = f"import os, sys\nsys.path.insert(0, {str(ROOT)!r})\nrank = int(os.environ['RANK'])\n"
    script.write_text(f"{start}{code}\nimport worker\nsys.exit(worker.main(sys.argv[1:]))\n")
    return launched([*TORCHRUN, str(number), str(script), *argv])


@contextmanager
def one_thread() -> Iterator[None]:
    """As in every process that is launched here: sums over several threads come out otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
