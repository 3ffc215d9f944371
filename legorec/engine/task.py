"""The unit that a recipe trains and measures, for any family of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from legorec.engine.fit import Objective, Stream
from legorec.engine.rank import Scorer
from legorec.slices import Slicing


@dataclass(frozen=True)
class Learning:
    """Everything that training needs beside the model.

    Args:
        inputs: digests by name of all that the model learns from; a checkpoint keeps them, and is refused
            where they differ.
        dev_stream: the batches whose mean loss judges an epoch under ``policy.simple_dev``; the same batches,
            those of its epoch 0, are used every time.
        ahead: called with the batch that follows, so that the model can fetch what it needs.
    """

    objective: Objective
    stream: Stream
    inputs: Mapping[str, str]
    dev_stream: Callable[[], Stream]
    ahead: Callable[[Any], None] = lambda batch: None


@dataclass(frozen=True)
class Start:
    """The weights of a run that training begins with, once they are in the model.

    Args:
        checkpoint: that they are from.
        digest: of its file of weights.
        said: lines for the log, such as how many items have a row in both.
    """

    checkpoint: Path
    digest: str
    said: Sequence[str] = ()


def not_started(run: Path) -> Start:
    """The default of ``Task.start``.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"a model of this family cannot start from the weights of a run; asked for was {run}")


def not_loaded(run: Path) -> Path:
    """The default of ``Task.load``.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        f"this task does not say how the weights of a run are loaded, asked for were those of {run}"
    )


def nothing_to_rank(split: str) -> Scorer:
    """The default of ``Task.scorer``; nobody calls it.

    Raises:
        AssertionError: always.
    """
    raise AssertionError(f"this task has nothing to rank, asked for was '{split}'")


@dataclass(frozen=True)
class Task:
    """A model, what it learns from and how its splits are ranked.

    Args:
        learning: made once, by runs that train; may refuse settings that cannot be trained.
        scorer: split (``dev`` or ``test``) -> its rows, to be ranked by the model. Left out, there is
            nothing to rank: epochs are judged by their loss on ``Learning.dev_stream``.
        baselines: split -> untrained scorers by name, each for a row of its own in the table.
        slices: split -> ways to cut its rows, in each of which all that is ranked is measured once more.
        place: where the data is, for messages.
        load: run folder -> the checkpoint of its best epoch, whose weights are then in the model.
        start: run folder -> the weights of its best epoch, which are then in the model; the run may have been
            trained on another store, and rows of items and words are matched by id.
        said: lines about the data that the log begins with.
        zero_shot: whether it may be measured without the weights of a run.
        finish: given the run's folder once the model has the weights of the best epoch, by the process that
            writes: what is of use outside of the run.
    """

    model: nn.Module
    learning: Callable[[], Learning]
    scorer: Callable[[str], Scorer] = nothing_to_rank
    baselines: Callable[[str], Mapping[str, Scorer]] = lambda split: {}
    slices: Callable[[str], Sequence[Slicing]] = lambda split: ()
    place: str = "the data"
    load: Callable[[Path], Path] = not_loaded
    start: Callable[[Path], Start] = not_started
    said: Sequence[str] = ()
    zero_shot: bool = False
    finish: Callable[[Path], None] = lambda folder: None

    @property
    def ranks(self) -> bool:
        """Whether there is something to rank."""
        return self.scorer is not nothing_to_rank
