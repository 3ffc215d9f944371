"""Growth of memory while a model trains, beside its bound. Needs a process of its own:

python -m benchmarks.memory STORE nrms
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import subject
from benchmarks.training import our_training
from legorec.batch import ClickBatch
from legorec.data.store import Store
from legorec.engine.optim import state_tensors
from legorec.recommender import Recommender

STATUS = Path("/proc/self/status")
MEBIBYTE = 1 << 20


def resident(entry: str) -> int:
    """Bytes from the kernel's account of this process: VmRSS now, VmHWM at its highest."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(entry + ":"))
    return int(line.split()[1]) * 1024


def measure(folder: Path, name: str, steps: int) -> dict[str, float]:
    """Growth of the process over ``steps`` training steps and each part of the bound, in MiB."""
    load_lazily_imported()
    before = resident("VmRSS")
    store = Store.open(folder)
    training = our_training(name, store, steps, subject.Clock())
    next(training.rounds)
    growth = resident("VmHWM") - before

    parameters = sum(each.nbytes for each in training.model.parameters())
    moments = sum(each.nbytes for each in state_tensors(training.optimizer, training.model).values())
    files = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    saved = max(saved_bytes(training.model, training.stream.batch(number)) for number in range(steps))
    parts = {
        "twice the store": 2 * files,
        "parameters": parameters,
        "gradients": parameters,
        "optimizer": moments,
        "one batch's activations": saved,
    }
    return {"growth": growth / MEBIBYTE, **{part: size / MEBIBYTE for part, size in parts.items()}}


def load_lazily_imported() -> None:
    """One step of a tiny layer, as torch and numpy import some of their parts at first use."""
    np.unique(np.zeros(1))
    layer = torch.nn.Linear(8, 8)
    optimizer = torch.optim.AdamW(layer.parameters(), fused=True)
    layer(torch.ones(8, 8)).sum().backward()
    optimizer.step()


def saved_bytes(model: Recommender, batch: ClickBatch) -> int:
    """The memory that a forward pass keeps for the backward: each storage once, without parameters."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        scores = model(batch)
    del scores  # the storages lived until here, so that no address was counted for two
    return sum(storages.values())


def in_own_process(folder: Path, name: str, steps: int, threads: int) -> dict[str, float] | None:
    """``measure`` in a fresh interpreter; None if the system does not report memory."""
    if not STATUS.exists():
        return None
    options = ["--steps", str(steps), "--threads", str(threads)]
    command = [sys.executable, "-m", "benchmarks.memory", str(folder), name, *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("model", choices=subject.MODELS)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(json.dumps(measure(options.store, options.model, options.steps)))


if __name__ == "__main__":
    main()
