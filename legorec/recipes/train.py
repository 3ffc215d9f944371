"""Train a recommender on clicks, keeping the checkpoint of its best epoch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from legorec.build import build
from legorec.data.clicks import ClickStream, TrainingClicks
from legorec.engine import checkpoint
from legorec.engine.fit import FitOptions, NonFiniteError, Objective, Progress, fit
from legorec.engine.optim import (
    learned_state,
    load_state_tensors,
    make_optimizer,
    state_tensors,
    trainable,
)
from legorec.engine.progress import bar
from legorec.engine.signals import Interrupted
from legorec.metrics import parse_metric
from legorec.processes import ALONE, Processes
from legorec.recipes.assemble import Data
from legorec.recipes.evaluate import dev_metrics, evaluate_split
from legorec.recipes.memory import batches_fitting
from legorec.recipes.session import Session
from legorec.recipes.trained import check_inputs, input_digests, load_weights

if TYPE_CHECKING:
    from legorec.settings import Settings


@dataclass
class TrainingState:
    """What a checkpoint says beside its tensors."""

    progress: Progress = field(default_factory=Progress)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None  # epoch, value, checkpoint
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
    def from_json(cls, state: dict[str, Any]) -> TrainingState:
        return cls(**{**state, "progress": Progress(**state["progress"])})


class Training:
    """Model, optimizer, data and state of one training run, saved and restored together.

    Raises:
        ValueError: the settings cannot be trained on this data; nothing is written by then.
    """

    session: Session

    def __init__(
        self, settings: Settings, data: Data, model: nn.Module, processes: Processes = ALONE
    ) -> None:
        policy = settings.exp.policy
        self.settings, self.data, self.model, self.processes = settings, data, model, processes
        self.objective: Objective = build("objective", settings.model.objective, {})
        self.optimizer = make_optimizer(
            model, lr=policy.lr, item_lr=policy.item_lr, weight_decay=policy.weight_decay
        )
        self.stream = self._stream(data.training, policy.epoch_batch)
        self.state = TrainingState(inputs=input_digests(settings, data))
        self.options = FitOptions(
            accumulate=policy.acc_batch,
            warmup=policy.warmup,
            clip_norm=policy.clip_norm,
            bf16=policy.precision == "bf16",
            save_every=policy.save_every,
        )

    def _stream(self, clicks: TrainingClicks, epoch_batch: int = 0) -> ClickStream:
        objective: Any = self.objective
        return ClickStream(
            clicks,
            batch_size=self.settings.exp.policy.batch_size,
            num_negatives=objective.num_negatives,
            positives_only=objective.positives_only,
            epoch_batch=epoch_batch,
            seed=self.settings.seed,
            processes=self.processes,
        )

    @property
    def columns(self) -> list[str]:
        """What is noted of every epoch, in order."""
        simple = self.settings.exp.policy.simple_dev
        return ["epoch", "loss", *(["dev_loss"] if simple else dev_metrics(self.settings))]

    def begin(self, session: Session) -> None:
        """Write into the session's folder, and go on from its newest complete checkpoint, if there is one.

        Raises:
            ValueError: it was altered, or the store or a given table is another one now.
        """
        self.session = session
        with self.processes.agreeing():
            last = checkpoint.newest(session.folder.checkpoints)
        name = self.processes.from_first(last.name if last else None)
        if name is None:
            return
        path = session.folder.checkpoints / name
        with self.processes.agreeing():
            try:
                saved = checkpoint.load(path)
            except checkpoint.CheckpointError as error:
                raise checkpoint.CheckpointError(f"{error}; {checkpoint.way_out(path)}") from error
            check_inputs(saved.state, self.state.inputs, path, self.data)
            load_weights(self.model, saved, path)
            load_state_tensors(self.optimizer, self.model, saved.tensors.get("optimizer", {}))
        self.state = TrainingState.from_json(dict(saved.state))
        if self.state.epochs:  # the run may have been killed between checkpoint and table
            session.folder.write_epochs(self.columns, self.state.epochs)
        session.log(f"resumed at batch {self.state.progress.next_batch} from {name}")

    def save(self) -> None:
        """Have the first process write where training stands, which is the same for all; the others wait."""
        with self.processes.agreeing():
            if self.session.folder.writes:
                self._write()

    def _write(self) -> None:
        """Save; keep that and the best epoch's checkpoint."""
        folder, name = self.session.folder.checkpoints, self.state.name
        tensors = {
            "weights": learned_state(self.model),
            "optimizer": state_tensors(self.optimizer, self.model),
        }
        checkpoint.save(folder, name, checkpoint.Checkpoint(tensors, asdict(self.state)))
        best = {self.state.best["checkpoint"]} if self.state.best else set()
        checkpoint.prune(folder, keep={name} | best)

    def measure_epoch(self) -> None:
        """Measure the epoch that is done on dev, note whether it is the best, and save.

        Raises:
            Interrupted: the run was asked to stop meanwhile; nothing is noted then.
        """
        progress, exp = self.state.progress, self.settings.exp
        row: dict[str, Any] = {"epoch": progress.epoch, "loss": progress.loss}
        if exp.policy.simple_dev:
            row["dev_loss"] = self.dev_loss()
        else:
            names = dev_metrics(self.settings)
            row |= evaluate_split(self.model, self.data, "dev", self.settings, self.session, names)
        row = self.processes.from_first(row)  # processors may differ in the last digit; decisions may not
        if exp.policy.simple_dev:
            better = -row["dev_loss"]
        else:
            metric = parse_metric(exp.evaluation.metric)
            better = row[metric.name] if metric.higher_is_better else -row[metric.name]
        self.state.epochs.append(row)
        if self.state.best is None or better > self.state.best["value"]:
            self.state.best = {
                "epoch": progress.epoch,
                "value": better,
                "checkpoint": self.state.name,
            }
            self.state.without_gain = 0
        else:
            self.state.without_gain += 1
        self.save()
        self.session.folder.write_epochs(self.columns, self.state.epochs)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in row.items() if name != "epoch")
        mark = "  *" if self.state.best["epoch"] == progress.epoch else ""
        self.session.log(f"epoch {progress.epoch}  {shown}{mark}")

    def dev_loss(self) -> float:
        """Mean training loss on the dev split, with the same negatives in every epoch.

        Raises:
            Interrupted: the run was asked to stop meanwhile.
            NonFiniteError: it is not a number.
        """
        interactions = self.data.store.interactions(self.settings.data.splits.dev)
        stream = self._stream(TrainingClicks(interactions, self.data.histories, self.data.num_items))
        device = next(self.model.parameters()).device
        total, count = torch.zeros((), device=device), 0
        self.model.eval()
        batches = stream.epoch(0)
        with torch.no_grad(), bar("dev", shown=self.processes.is_first) as show:
            for number in batches:
                batch = stream.batch(number)
                if self.objective.count(batch):  # else another process has all of it
                    loss = self.objective(self.model, batch.to(device))
                    total, count = total + loss.total, count + loss.count
                show(number + 1, len(batches))
                self.session.stop.check()
        mean = self.processes.sum(float(total)) / self.processes.sum(count)
        if not math.isfinite(mean):
            raise NonFiniteError(
                f"the dev loss of epoch {self.state.progress.epoch} is {mean:g}; the last checkpoint is "
                "untouched. A lower `lr` or `clip_norm` may help"
            )
        return mean

    def require_finite(self) -> None:
        """Refuse to go on with, or to save, weights that a step has made infinite.

        Raises:
            NonFiniteError: naming the batch and the first such parameter.
        """
        for name, value in trainable(self.model).items():
            if not value.isfinite().all():
                raise NonFiniteError(
                    f"'{name}' is not finite after the step of batch {self.state.progress.next_batch - 1}; "
                    "the last checkpoint is untouched. A lower `lr` or `clip_norm` may help"
                )

    @property
    def finished(self) -> bool:
        """Whether the last epoch was measured and no other is wanted."""
        policy = self.settings.exp.policy
        if not self.state.measured:
            return False
        return len(self.state.epochs) >= policy.epoch or self.state.without_gain > policy.patience


def train(training: Training, session: Session) -> None:
    """Epoch after epoch until ``patience`` or ``epoch`` ends it; the model then has the best one's weights.

    Raises:
        Interrupted: the run was asked to stop; a checkpoint says where to go on.
        NonFiniteError: a loss or gradient is not a number; the last good checkpoint stays.
        NoMemoryError: a batch does not fit; the last checkpoint stays.
    """
    training.begin(session)
    state, stop = training.state, session.stop
    while not training.finished:
        if not state.progress.epoch_done or state.measured:
            train_epoch(training)
        if stop or not state.progress.epoch_done:
            training.save()
        stop.check()
        if state.progress.epoch_done:
            try:
                training.measure_epoch()
            except Interrupted:
                training.save()
                raise
    assert state.best is not None
    path = checkpoint.named(session.folder.checkpoints, state.best["checkpoint"])
    with training.processes.agreeing():
        load_weights(training.model, checkpoint.load(path), path)


def train_epoch(training: Training) -> None:
    """To the end of the epoch, or to the next place where it is to be saved."""
    processes, stop = training.processes, training.session.stop
    with bar(f"epoch {len(training.state.epochs)}", shown=processes.is_first) as show:
        steps = fit(
            training.model,
            training.stream,
            training.objective,
            training.optimizer,
            training.options,
            training.state.progress,
            stop=lambda: bool(stop),
            advanced=show,
            processes=processes,
        )
        with batches_fitting(training.settings.exp.policy, training.state.progress):
            next(steps)
    training.require_finite()
