"""A task under training: model, optimizer and state, saved and restored together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from legorec.abilities import ChecksTraining
from legorec.engine import checkpoint
from legorec.engine.fit import FitOptions, NonFiniteError, Progress
from legorec.engine.optim import (
    learned_state,
    load_state_tensors,
    make_optimizer,
    state_tensors,
    trainable,
)
from legorec.engine.task import Learning, Start, Task
from legorec.engine.weights import STARTED, check_inputs, load_weights
from legorec.processes import ALONE, Processes


@dataclass
class TrainingState:
    """The state that a checkpoint holds beside its tensors."""

    progress: Progress = field(default_factory=Progress)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None  # epoch, value, checkpoint
    kept: list[dict[str, Any]] = field(default_factory=list)  # the best epochs alike, best first
    without_gain: int = 0
    inputs: dict[str, str] = field(default_factory=dict)  # what it is learned from, by digest

    @property
    def measured(self) -> bool:
        """Whether the epoch that is done was measured too."""
        return len(self.epochs) == self.progress.epoch + 1

    @property
    def name(self) -> str:
        """The checkpoint's name; names sort by age, a measured epoch after the same epoch unmeasured."""
        return f"batch-{self.progress.next_batch:010d}" + ("-measured" if self.measured else "")

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> TrainingState:
        return cls(**{**state, "progress": Progress.from_json(state["progress"])})

    def note(self, row: dict[str, Any], value: float, keep: int = 1) -> None:
        """Add a measured epoch; ``value`` decides which is best, higher is better.

        Args:
            keep: how many of the best epochs' checkpoints are kept; of equal ones the earlier.
        """
        self.epochs.append(row)
        this = {"epoch": self.progress.epoch, "value": value, "checkpoint": self.name}
        before = self.kept or ([] if self.best is None else [self.best])
        self.kept = sorted([*before, this], key=lambda each: -each["value"])[:keep]
        if self.best is None or value > self.best["value"]:
            self.best, self.without_gain = this, 0
        else:
            self.without_gain += 1


class Training:
    """A task under training.

    Args:
        lr, item_lr, weight_decay: see ``make_optimizer``.

    Raises:
        ValueError: the task cannot be trained; nothing is written by then.
    """

    def __init__(
        self,
        task: Task,
        options: FitOptions,
        *,
        lr: float,
        item_lr: float | None = None,
        weight_decay: float = 0.0,
        processes: Processes = ALONE,
    ) -> None:
        self.task, self.model, self.options, self.processes = task, task.model, options, processes
        self.item_lr = item_lr
        for module in self.model.modules():
            if isinstance(module, ChecksTraining):
                module.check_training()
        self.learning: Learning = task.learning()
        self.optimizer = make_optimizer(self.model, lr=lr, item_lr=item_lr, weight_decay=weight_decay)
        self.state = TrainingState(inputs=dict(self.learning.inputs))
        self.begun: Start | None = None

    def begin(self, start: Start) -> None:
        """Note the weights that the model was given to begin with."""
        self.begun = start
        self.state.inputs[STARTED] = start.digest

    def restore(self, folder: Path) -> str | None:
        """Go on from the newest complete checkpoint of a folder; its name, or None if there is none.

        Raises:
            ValueError: it was altered, or what it was learned from is another now.
        """
        with self.processes.agreeing():
            last = checkpoint.newest(folder)
        name = self.processes.from_first(last.name if last else None)
        if name is None:
            return None
        path = folder / name
        with self.processes.agreeing():
            try:
                saved = checkpoint.load(path)
            except checkpoint.CheckpointError as error:
                raise checkpoint.CheckpointError(f"{error}; {checkpoint.way_out(path)}") from error
            check_inputs(saved.state, self.state.inputs, path, self.task.place)
            load_weights(self.model, saved, path)
            load_state_tensors(self.optimizer, self.model, saved.tensors.get("optimizer", {}))
        self.state = TrainingState.from_json(saved.state)
        if self.processes.is_first:  # what a kill in the middle of pruning left
            self._prune(folder, path.name)
        return str(name)

    def save(self, folder: Path) -> None:
        """Save the state, which all processes share: the first one writes, the others wait.

        That checkpoint and the best epochs' are kept.
        """
        with self.processes.agreeing():
            if self.processes.is_first:
                tensors = {
                    "weights": learned_state(self.model),
                    "optimizer": state_tensors(self.optimizer, self.model),
                }
                checkpoint.save(folder, self.state.name, checkpoint.Checkpoint(tensors, asdict(self.state)))
                self._prune(folder, self.state.name)

    def _prune(self, folder: Path, newest: str) -> None:
        best = [self.state.best] if self.state.best else []
        kept = {each["checkpoint"] for each in (*best, *self.state.kept)}
        checkpoint.prune(folder, keep={newest} | kept)

    def load_best(self, folder: Path) -> None:
        """Put the weights of the best epoch into the model."""
        assert self.state.best is not None
        path = checkpoint.named(folder, self.state.best["checkpoint"])
        with self.processes.agreeing():
            load_weights(self.model, checkpoint.load(path), path)

    def require_finite(self) -> None:
        """Stop before weights that are not finite are used or saved.

        Raises:
            NonFiniteError: naming the batch and the first such parameter.
        """
        for name, value in trainable(self.model).items():
            if not value.isfinite().all():
                raise NonFiniteError(
                    f"'{name}' is not finite after the step of batch {self.state.progress.next_batch - 1}; "
                    "the last checkpoint is untouched. A lower `lr` or `clip_norm` may help"
                )
