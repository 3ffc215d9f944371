"""What every process of a launch does in ``test_processes``; one process alone does it too, to compare with.

torchrun --nproc-per-node N -m tests.support.shared_program FOLDER
"""

from __future__ import annotations

import itertools
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from legorec.batch import ClickBatch, Loss, Term
from legorec.data.clicks import ClickStream
from legorec.engine import reduce
from legorec.engine.fit import FitOptions, NonFiniteError, Progress, fit
from legorec.engine.optim import make_optimizer
from legorec.engine.stopping import StopRequest
from legorec.objectives.pointwise import PointwiseObjective
from legorec.objectives.sampled_softmax import SampledSoftmaxObjective
from legorec.processes import PeerError, Processes
from legorec.scorers.untrained import PopularityBaseline, RandomBaseline
from tests.scorers.test_clicks import uneven
from tests.support import small
from tests.support.ranking import rank

PAGES = [(3, 7), (16, 16), (1000, 1000)]  # of the last there are fewer than processes
Found = dict[str, Tensor]


class Descent(torch.optim.SGD):
    """Plain gradient descent: Adam would blow up the last digit of the smallest gradients."""

    def __init__(self, model: nn.Module, lr: float = 0.1) -> None:
        super().__init__(model.parameters(), lr=lr)
        self.param_groups[0]["base_lr"] = lr


def stream(objective: Any, processes: Processes) -> ClickStream:
    """Batches that no number of processes divides, the last of them with one example."""
    clicks = small.training_clicks()
    labels = clicks.interactions.labels
    examples = int(labels.sum()) if objective.positives_only else len(labels)
    size = next(size for size in range(7, examples) if examples % size == 1)
    return ClickStream(
        clicks,
        batch_size=size,
        num_negatives=objective.num_negatives,
        positives_only=objective.positives_only,
        seed=5,
        processes=processes,
    )


def train(processes: Processes) -> Found:
    """Weights, loss and count after two epochs."""
    found: Found = {}
    for name, objective in (("softmax", SampledSoftmaxObjective(3)), ("pointwise", PointwiseObjective(2))):
        for dtype in (torch.float32, torch.float64):
            model = small.recommender("naml" if name == "softmax" else "nrms", dropout=0.3).to(dtype)
            options = FitOptions(accumulate=2, clip_norm=0.5 if name == "softmax" else None)
            data, optimizer = stream(objective, processes), Descent(model)
            steps = fit(model, data, objective, optimizer, options, Progress(), processes=processes)
            progress = [next(steps), next(steps)][-1]
            case = f"{name} {str(dtype).removeprefix('torch.')}"
            found |= {f"{case}/{key}": value.clone() for key, value in model.state_dict().items()}
            found[f"{case}/loss"] = torch.tensor(progress.loss, dtype=torch.float64)
            found[f"{case}/count"] = torch.tensor(progress.counts["examples"])
    return found


def resume(processes: Processes) -> bool:
    """Whether a run with dropout that was cut and taken up again equals the straight one, bit for bit."""
    objective, options = SampledSoftmaxObjective(3), FitOptions(accumulate=2, save_every=1)

    def made() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = small.recommender(dropout=0.3)
        return model, make_optimizer(model, lr=3e-3)

    (straight, its), (model, optimizer) = made(), made()
    data = stream(objective, processes)
    steps = fit(straight, data, objective, its, options, Progress(), processes=processes)
    for _ in range(5):
        end = next(steps)
    progress = Progress()
    for _ in range(5):
        data = stream(objective, processes)
        progress = next(fit(model, data, objective, optimizer, options, progress, processes=processes))
        torch.manual_seed(99)
    pairs = zip(straight.parameters(), model.parameters(), strict=True)
    return all(torch.equal(left, right) for left, right in pairs) and end == progress


def test(processes: Processes) -> Found:
    """Scores, fast and slow, of models and baselines; and rows that were encoded, summed over processes."""
    found: Found = {}
    for name in ("nrms", "naml"):
        model, data = small.recommender(name), uneven()
        encoded: list[int] = []
        model.item_encoder.register_forward_hook(lambda *call, to=encoded: to.append(len(call[2])))
        for (batch_size, page), fast in itertools.product(PAGES, (True, False)):
            encoded.clear()
            done: list[int] = []
            scores = rank(
                model,
                data,
                fast=fast,
                batch_size=batch_size,
                item_page_size=page,
                bf16=batch_size == 16,
                progress=done.append,
                processes=processes,
            ).score
            case = f"{name} {batch_size} {page} {fast}"
            found[case] = torch.from_numpy(scores)
            found[f"{case} done"] = torch.tensor(sum(done))
            if fast:
                found[f"{case} encoded"] = torch.tensor(int(processes.sum(sum(encoded))))
    for baseline in (RandomBaseline(3), PopularityBaseline(small.training_clicks())):
        scores = rank(baseline, uneven(), batch_size=7, processes=processes).score
        found[type(baseline).__name__] = torch.from_numpy(scores)
    return found


class Poisoned(SampledSoftmaxObjective):
    """The loss of one batch is not a number, in the last process."""

    def __init__(self, processes: Processes) -> None:
        super().__init__(3)
        self.processes = processes

    def __call__(self, model: nn.Module, batch: ClickBatch) -> Loss:
        loss = super().__call__(model, batch)
        spoilt = batch.number == 2 and self.processes.rank == self.processes.world - 1
        return Loss({"all": Term(loss.total * (torch.nan if spoilt else 1.0))})


def complaint(processes: Processes) -> str:
    """What every process says of a loss that is not finite in one."""
    model, objective = small.recommender(dropout=0.0), Poisoned(processes)
    data, optimizer = stream(objective, processes), Descent(model)
    try:
        next(fit(model, data, objective, optimizer, FitOptions(), Progress(), processes=processes))
    except NonFiniteError as error:
        return str(error)
    return ""


def gradients(processes: Processes) -> list[Any]:
    """The sums of gradients that all have, that one has, and that none has, in buckets of every size."""
    found: list[Any] = []
    for size in (1, 40, 2**20):
        reduce.BUCKET_BYTES = size
        everywhere, here, nowhere, last = (nn.Parameter(torch.zeros(2, 3)) for _ in range(4))
        half = nn.Parameter(torch.zeros(5, dtype=torch.float64))
        everywhere.grad = torch.full((3, 2), float(processes.rank + 1)).T
        half.grad = torch.ones(5, dtype=torch.float64)
        last.grad = torch.ones(2, 3)
        if processes.is_first:
            here.grad = torch.full((2, 3), 7.0)
        parameters = [everywhere, nowhere, half, here, last]
        reduce.reduce_gradients(parameters, processes)
        found.append([None if each.grad is None else each.grad.tolist() for each in parameters])
    return found


def failing(processes: Processes, where: Callable[[int], bool]) -> str:
    """How a part ends that fails in some processes."""
    try:
        with processes.agreeing():
            if where(processes.rank):
                raise ValueError("broken")
    except (ValueError, PeerError) as error:
        return type(error).__name__
    return "well"


def agreements(processes: Processes) -> dict[str, Any]:
    """What each process came to know of the others."""
    merged = torch.zeros(processes.world, 2, dtype=torch.bfloat16)
    own = [-0.0, float("nan")] if processes.is_first else [processes.rank, 1e-20]
    merged[processes.rank] = torch.tensor(own)
    processes.merge(merged)
    last = processes.world - 1
    with StopRequest(processes) as stop:
        asked = [bool(stop)]
        if processes.rank == last:
            signal.raise_signal(signal.SIGTERM)
        asked += [bool(stop), bool(stop)]
    return {
        "merged": [str(value) for value in merged.flatten().tolist()],
        "collected": processes.collect({"rank": processes.rank, "text": "ä" * processes.rank}),
        "first": processes.from_first([processes.rank, 0.1]),
        "sum": processes.sum(processes.rank + 0.5),
        "max": processes.max(processes.rank),
        "asked": asked,
        "signal": stop.signal,
        "nowhere": failing(processes, lambda rank: False),
        "everywhere": failing(processes, lambda rank: True),
        "last": failing(processes, lambda rank: rank == last),
        "claims": int(processes.sum(processes.claim("test"))),
        "seeds": len(set(processes.collect(str(torch.initial_seed())))),
    }


def everything(processes: Processes, folder: Path) -> None:
    """Do all of it and write down what was found."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(train(processes), folder / f"train-{processes.rank}.safetensors")
    save_file(test(processes), folder / f"test-{processes.rank}.safetensors")
    facts = {
        "resume": resume(processes),
        "complaint": complaint(processes),
        "gradients": gradients(processes),
    }
    (folder / f"facts-{processes.rank}.json").write_text(json.dumps(facts | agreements(processes)))


if __name__ == "__main__":
    np.seterr(all="raise")
    with Processes.launched().joined() as joined:
        everything(joined, Path(sys.argv[1]))
    # Threads of the network that are left at the interpreter's end make it abort, once in twenty times.
    left = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
    (Path(sys.argv[1]) / f"left-{joined.rank}.json").write_text(json.dumps(left))
