"""Train a recommender on clicks, keeping the checkpoint of its best epoch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from legorec.build import build
from legorec.data.clicks import ClickStream, TrainingClicks
from legorec.engine import checkpoint
from legorec.engine.fit import FitOptions, Objective, Progress, fit
from legorec.engine.log import RunLog
from legorec.engine.optim import load_state_tensors, make_optimizer, state_tensors, trainable
from legorec.engine.progress import bar
from legorec.engine.run import RunFolder
from legorec.engine.signals import Interrupted, StopRequest
from legorec.metrics import parse_metric
from legorec.recipes.assemble import Data
from legorec.recipes.evaluate import evaluate_split

if TYPE_CHECKING:
    from legorec.settings import Settings


@dataclass
class TrainingState:
    """What a checkpoint says beside its tensors."""

    progress: Progress = field(default_factory=Progress)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None  # epoch, value, checkpoint
    without_gain: int = 0

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
    """Model, optimizer, data and state of one training run, saved and restored together."""

    def __init__(self, settings: Settings, data: Data, model: nn.Module, folder: RunFolder, log: RunLog) -> None:
        policy = settings.exp.policy
        self.settings, self.data, self.model, self.folder, self.log = settings, data, model, folder, log
        self.objective: Objective = build("objective", settings.model.objective, {})
        self.optimizer = make_optimizer(
            model, lr=policy.lr, item_lr=policy.item_lr, weight_decay=policy.weight_decay
        )
        self.stream = self._stream(data.training(), policy.epoch_batch)
        self.state = TrainingState()
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
        )

    def resume(self) -> None:
        """Go on from the newest complete checkpoint, if there is one."""
        done = checkpoint.complete(self.folder.checkpoints)
        if not done:
            return
        saved = checkpoint.load(done[-1])
        load_weights(self.model, saved, done[-1])
        load_state_tensors(self.optimizer, self.model, saved.tensors.get("optimizer", {}))
        self.state = TrainingState.from_json(dict(saved.state))
        self.log(f"resumed at batch {self.state.progress.next_batch} from {done[-1].name}")

    def save(self) -> None:
        """Write where training stands; keep that and the best epoch's checkpoint."""
        name = self.state.name
        tensors = {
            "weights": dict(trainable(self.model)) | dict(self.model.named_buffers()),
            "optimizer": state_tensors(self.optimizer, self.model),
        }
        checkpoint.save(self.folder.checkpoints, name, checkpoint.Checkpoint(tensors, asdict(self.state)))
        best = {self.state.best["checkpoint"]} if self.state.best else set()
        checkpoint.prune(self.folder.checkpoints, keep={name} | best)

    def measure_epoch(self, stop: StopRequest) -> None:
        """Measure the epoch that is done on dev, note whether it is the best, and save.

        Raises:
            Interrupted: ``stop`` was set meanwhile; nothing is noted then.
        """
        progress, exp = self.state.progress, self.settings.exp
        row: dict[str, Any] = {"epoch": progress.epoch, "loss": progress.loss}
        if exp.policy.simple_dev:
            row["dev_loss"] = self.dev_loss()
            better = -row["dev_loss"]
        else:
            report = evaluate_split(self.model, self.data, "dev", self.settings, stop)
            row |= report
            metric = parse_metric(exp.evaluation.metric)
            better = report[metric.name] if metric.higher_is_better else -report[metric.name]
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
        self.folder.write_epochs(self.state.epochs)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in row.items() if name != "epoch")
        mark = "  *" if self.state.best["epoch"] == progress.epoch else ""
        self.log(f"epoch {progress.epoch}  {shown}{mark}")

    def dev_loss(self) -> float:
        """Mean training loss on the dev split, with the same negatives in every epoch."""
        interactions = self.data.store.interactions(self.settings.data.splits.dev)
        stream = self._stream(TrainingClicks(interactions, self.data.histories, self.data.num_items))
        device = next(self.model.parameters()).device
        total, count = torch.zeros((), device=device), 0
        self.model.eval()
        with torch.no_grad():
            for number in stream.epoch(0):
                loss = self.objective(self.model, stream.batch(number).to(device))
                total, count = total + loss.total, count + loss.count
        return float(total) / count

    @property
    def finished(self) -> bool:
        """Whether the last epoch was measured and no other is wanted."""
        policy = self.settings.exp.policy
        if not self.state.measured:
            return False
        return len(self.state.epochs) >= policy.epoch or self.state.without_gain > policy.patience


def train(training: Training, stop: StopRequest) -> None:
    """Epoch after epoch until ``patience`` or ``epoch`` ends it; the best epoch's weights are then in the model.

    Raises:
        Interrupted: ``stop`` was set; a checkpoint says where to go on.
        NonFiniteError: a loss or gradient is not a number; the last good checkpoint stays.
    """
    training.resume()
    state = training.state
    while not training.finished:
        if not state.progress.epoch_done or state.measured:
            train_epoch(training, stop)
        if stop or not state.progress.epoch_done:
            training.save()
        if stop:
            raise Interrupted
        if state.progress.epoch_done:
            try:
                training.measure_epoch(stop)
            except Interrupted:
                training.save()
                raise
    assert state.best is not None
    path = training.folder.checkpoints / state.best["checkpoint"]
    load_weights(training.model, checkpoint.load(path), path)


def train_epoch(training: Training, stop: StopRequest) -> None:
    """To the end of the epoch, or to the next place where it is to be saved."""
    with bar(f"epoch {len(training.state.epochs)}") as show:
        steps = fit(
            training.model,
            training.stream,
            training.objective,
            training.optimizer,
            training.options,
            training.state.progress,
            stop=lambda: bool(stop),
            advanced=show,
        )
        next(steps)


def load_weights(model: nn.Module, saved: checkpoint.Checkpoint, path: Path) -> None:
    """Put saved weights into a model, strictly: every trainable one, of the same shape, and no other.

    Raises:
        ValueError: naming the first that is missing, unexpected or of another shape.
    """
    weights = saved.tensors["weights"]
    wanted = dict(trainable(model)) | dict(model.named_buffers())
    for name in sorted(set(wanted) ^ set(weights)):
        where = "does not hold" if name in wanted else "holds, and the model does not,"
        raise ValueError(f"{path} {where} '{name}'; it was trained with another model or other settings")
    with torch.no_grad():
        for name, value in weights.items():
            if wanted[name].shape != value.shape:
                raise ValueError(
                    f"{path}: '{name}' is {tuple(value.shape)}, the model wants {tuple(wanted[name].shape)}; "
                    "it was trained with other settings or another store"
                )
            wanted[name].copy_(value)
