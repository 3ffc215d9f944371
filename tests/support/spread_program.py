"""What every process of a launch does in ``lm/test_spread``; one process alone does it too, to compare with.

torchrun --nproc-per-node N -m tests.support.spread_program CHECKPOINT FOLDER
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from legorec.batch import TokenBatch, Turn
from legorec.engine.fit import FitOptions, Progress, fit
from legorec.engine.optim import trainable
from legorec.engine.rank import rank
from legorec.lm.answering import CausalModel
from legorec.lm.lora import LoRA
from legorec.lm.pretrained import Pretrained
from legorec.lm.spread import own_bytes
from legorec.processes import Processes
from legorec.prompts.learning import TokenObjective
from tests.support.shared_program import Descent

CPU = torch.device("cpu")
# In numbers of groups that differ between the halves of a batch; the third is too short for two processes.
LENGTHS = ([3, 90, 4, 40, 5], [60, 60, 3, 3], [9], [2, 80, 33, 7, 20])
CASES = {
    "all layers": {"layer": 0},
    "upper layers": {"layer": 1},
    "computed again": {"layer": 0, "gradient_checkpointing": True},
}


def rows(number: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(number)
    return [torch.randint(3, 97, (length,), generator=generator) for length in LENGTHS[number % len(LENGTHS)]]


def batch_of(some: list[Tensor], number: int = 0) -> TokenBatch:
    """Rows of which every token but the first is learned."""
    lengths = torch.tensor([len(each) for each in some], dtype=torch.int64)
    tokens = torch.cat([torch.zeros(0, dtype=torch.int64), *some])
    first = torch.zeros(len(tokens), dtype=torch.bool)
    first[lengths.cumsum(0) - lengths] = True
    count = len(some)
    return TokenBatch(
        tokens, lengths, (~first).nonzero()[:, 0], {}, torch.arange(count), torch.zeros(count), number
    )


class Rows:
    """Batches of them, of which each process gets its share."""

    seed = 3

    def __init__(self, processes: Processes) -> None:
        self.processes = processes

    def epoch(self, number: int) -> range:
        return range(number * len(LENGTHS), (number + 1) * len(LENGTHS))

    def batch(self, number: int) -> TokenBatch:
        every = rows(number)
        return batch_of(every[self.processes.share(len(every))], number)


class RowScorer:
    """One row a turn and process; the last turn has fewer rows than processes."""

    place, group_by = "rows", "row"

    def __init__(self, model: CausalModel) -> None:
        self.model, self.rows = model, [row for number in range(len(LENGTHS)) for row in rows(number)]
        self.label = self.group = np.arange(len(self.rows))

    def __len__(self) -> int:
        return len(self.rows)

    def turns(self, processes: Processes, say: Callable[[str], None]) -> Iterator[Turn]:
        for _, mine in processes.turns(len(self.rows)):
            found = [] if mine is None else [(np.array([mine]), self.model(batch_of([self.rows[mine]])))]
            yield Turn(found, processes.world)


def everything(checkpoint: Path, folder: Path, processes: Processes) -> None:
    """Scores before and after two epochs, the weights that were learned, and what a process holds."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Tensor] = {}
    held: dict[str, float] = {}
    for name, settings in CASES.items():
        torch.manual_seed(1)
        model = CausalModel(
            Pretrained(checkpoint), (11, 5), lora=LoRA(r=2, alpha=4.0, dropout=0.2), **settings
        )  # type: ignore[arg-type]
        whole = own_bytes(model)
        if processes.world > 1:
            model.spread(processes, CPU)
        held[name] = own_bytes(model) / whole
        found[f"{name}/before"] = torch.from_numpy(rank(RowScorer(model), processes=processes).score)
        steps = fit(
            model,
            Rows(processes),
            TokenObjective(),
            Descent(model, 0.5),
            FitOptions(accumulate=3),
            Progress(),
            processes=processes,
        )
        next(steps)
        end = next(steps)
        found |= {f"{name}/{key}": value.detach().clone() for key, value in trainable(model).items()}
        found[f"{name}/loss"] = torch.tensor(end.loss, dtype=torch.float64)
        found[f"{name}/after"] = torch.from_numpy(rank(RowScorer(model), processes=processes).score)
    save_file(found, folder / f"found-{processes.rank}.safetensors")
    (folder / f"held-{processes.rank}.json").write_text(json.dumps(held))


if __name__ == "__main__":
    with Processes.launched().joined() as joined:
        everything(Path(sys.argv[1]), Path(sys.argv[2]), joined)
