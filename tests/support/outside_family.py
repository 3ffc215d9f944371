"""A family of models that legorec does not know: it learns the digits of a row, and their sum."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import Loss, Term, Turn
from legorec.data.passes import Passes
from legorec.engine.task import Learning, Task
from legorec.engine.weights import load_best
from legorec.processes import Processes
from legorec.settings import PolicySettings, Settings
from legorec.settings.schema import Strict

ROWS = np.random.default_rng(0).integers(0, 5, (90, 6))
INPUTS = {"rows": "of seed 0"}


class DigitSettings(Strict):
    family: Literal["digits"] = "digits"
    name: str = "Digits"
    width: int = 8


@dataclass(frozen=True)
class DigitBatch:
    tokens: Tensor  # (B, 6)
    group: Tensor
    number: int

    def to(self, device):
        return replace(self, tokens=self.tokens.to(device))


class DigitStream:
    def __init__(self, policy: PolicySettings, seed: int, processes: Processes) -> None:
        self.seed = seed
        self.passes = Passes(60, batch_size=policy.batch_size, seed=seed, processes=processes)
        self.epoch = self.passes.epoch

    def batch(self, number: int) -> DigitBatch:
        own = self.passes.share(number)
        return DigitBatch(torch.from_numpy(ROWS[own]), torch.from_numpy(own), number)


class DigitModel(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.table, self.next, self.sum = nn.Embedding(5, width), nn.Linear(width, 5), nn.Linear(width, 1)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        states = self.table(tokens).cumsum(1)
        return self.next(states[:, :-1]), self.sum(states[:, -1]).squeeze(1)


class DigitObjective:
    """A term of tokens, of which those that are 0 are left out, and one of rows."""

    def counts(self, batch: DigitBatch) -> dict[str, int]:
        return {"tokens": int((batch.tokens[:, 1:] > 0).sum()), "rows": len(batch.tokens)}

    def __call__(self, model: nn.Module, batch: DigitBatch) -> Loss:
        words, sums = model(batch.tokens)
        wanted = batch.tokens[:, 1:].reshape(-1)
        word = nn.functional.cross_entropy(words.flatten(0, 1), wanted, ignore_index=0, reduction="sum")
        square = ((sums - batch.tokens.sum(1)) ** 2).sum()
        return Loss({"word": Term(word, "tokens"), "square": Term(square, "rows", weight=0.1)})


class DigitScorer:
    """Whether the sum of a row is above 10, in groups of ten rows."""

    group_by, place = "ten", "the last rows"

    def __init__(self, model: nn.Module) -> None:
        self.model, self.rows, self.group = model, ROWS[60:], np.repeat(np.arange(3), 10)
        self.label = (self.rows.sum(1) > 10).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.rows)

    def turns(self, processes, say):
        for turn, page in processes.turns(3):
            places = np.arange(10) + 10 * (page or 0)
            pages = [] if page is None else [(places, self.model(torch.from_numpy(self.rows[places]))[1])]
            yield Turn(pages, 10 * len(turn))


def digits(settings: Settings, device: torch.device, processes: Processes) -> Task:
    torch.manual_seed(settings.seed)
    model = DigitModel(settings.model.width).to(device)
    stream = DigitStream(settings.exp.policy, settings.seed, processes)
    return Task(
        model=model,
        learning=lambda: Learning(DigitObjective(), stream, INPUTS, dev_stream=lambda: stream),
        scorer=lambda split: DigitScorer(model),
        load=lambda run: load_best(run, model, INPUTS, "the digits"),
    )
