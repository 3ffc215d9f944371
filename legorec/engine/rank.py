"""The ranking pass: it makes one ``Ranking`` of a scorer's turns, in one process or several."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import Ranking, Turn
from legorec.engine.together import finishing
from legorec.nn.device import module_device
from legorec.processes import ALONE, Processes


class Scorer(Protocol):
    """The rows of one split and a way to score them.

    ``place`` names the split in messages. ``group``, ``label`` and ``group_by`` are those of its ``Ranking``.
    """

    model: nn.Module
    place: str

    @property
    def group(self) -> np.ndarray: ...

    @property
    def label(self) -> np.ndarray: ...

    @property
    def group_by(self) -> str: ...

    def __len__(self) -> int:
        """Impressions, or whatever else progress is counted in."""

    def turns(self, processes: Processes, say: Callable[[str], None]) -> Iterator[Turn]:
        """Score this process's share, page by page.

        Every process must yield equally many turns. A row's score may not depend on the number of processes,
        and each row is scored by one of them.

        Args:
            say: called, in the process where it happens, when memory was short and pages were halved.
        """


@runtime_checkable
class MakesRanking(Protocol):
    """A scorer whose turns bring ``columns`` values for each row, (r, columns) in float64, not one score."""

    columns: int

    def ranking(self, values: np.ndarray) -> Ranking:
        """The ranking, from the values of all rows (R, columns)."""


@contextmanager
def evaluating(model: nn.Module, bf16: bool = False) -> Iterator[None]:
    """Evaluation mode, no gradients, bf16 autocast if asked for; afterwards the mode is as before."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), torch.autocast(module_device(model).type, torch.bfloat16, enabled=bf16):
            yield
    finally:
        model.train(was_training)


def rank(
    scorer: Scorer,
    *,
    bf16: bool = False,
    progress: Callable[[int], None] = lambda impressions: None,
    processes: Processes = ALONE,
    say: Callable[[str], None] = warnings.warn,
) -> Ranking:
    """Scores of every row of a split, in stored order.

    Args:
        progress: called after each turn with the impressions that were finished in it.
        processes: all of them end with the whole ranking.
        say: see ``Scorer.turns``.
    """
    places: list[np.ndarray] = []
    scores: list[Tensor] = []
    finish = finishing(scorer.model)
    with evaluating(scorer.model, bf16):
        for turn in scorer.turns(processes, say):
            finish()
            places += [place for place, _ in turn.pages]
            scores += [score for _, score in turn.pages]
            progress(turn.done)
    label = np.asarray(scorer.label)
    several = scorer if isinstance(scorer, MakesRanking) else None
    shape = (len(label),) if several is None else (len(label), several.columns)
    ordered = np.zeros(shape, dtype=np.float32 if several is None else np.float64)
    if scores:
        ordered[np.concatenate(places)] = torch.cat(scores).cpu().numpy()
    processes.merge(torch.from_numpy(ordered))
    if several is not None:
        return several.ranking(ordered)
    return Ranking(group=scorer.group, label=label, score=ordered, group_by=scorer.group_by)
