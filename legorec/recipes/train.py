"""Train the model of a task, measure it, or both."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from legorec.abilities import SavesAdapter
from legorec.engine import checkpoint
from legorec.engine.fit import FitOptions, NonFiniteError, Stream, fit, takes_part
from legorec.engine.progress import Lines, bar, rate_text, shows_bars
from legorec.engine.run_folder import best_checkpoint, kept_epochs
from legorec.engine.stopping import Interrupted
from legorec.engine.task import Task
from legorec.engine.together import finishing
from legorec.engine.training import Training
from legorec.processes import ALONE, Processes
from legorec.recipes.inputs.devices import choose_device
from legorec.recipes.inputs.rates import begun_said, rates_said, training_of
from legorec.recipes.inputs.starting import noted_start
from legorec.recipes.outputs.judged import check_judged, dev_metrics, worth
from legorec.recipes.outputs.measure import measure, measure_baselines, measured_json, print_measured
from legorec.recipes.outputs.opening import log_opening, num_trainable
from legorec.recipes.outputs.session import Session, open_session
from legorec.recipes.outputs.smaller_batches import batches_fitting
from legorec.recipes.run import function_at
from legorec.settings.families import FAMILIES
from legorec.settings.modes import MODES

if TYPE_CHECKING:
    from legorec.settings import Settings
    from legorec.settings.exp_layer import PolicySettings

MakeTask = Callable[["Settings", torch.device, Processes], Task]
TOLD = {"tokens": "learned tokens"}  # what an objective counts is what it learns, not what is read


def train(
    settings: Settings, processes: Processes = ALONE, make_task: MakeTask | None = None
) -> dict[str, Any]:
    """Train, measure or both, as ``exp.mode`` says; returns what ``metrics.json`` holds.

    Args:
        make_task: for a model of no family that the settings name.

    Raises:
        ValueError: something the user can mend (a store, a setting, a folder).
        NonFiniteError: a loss or gradient is not a number; the last good checkpoint stays.
        NoMemoryError: a batch does not fit; the last checkpoint stays.
        Interrupted: the process was asked to stop; the folder holds a checkpoint to resume from.
        PeerError: another process failed.
    """
    mode, exp = MODES[settings.exp.mode], settings.exp
    with processes.agreeing():  # all that can be refused is refused before the folder is touched
        device = choose_device(settings.device, processes)
        task = (make_task or function_at(FAMILIES[settings.model.family].task))(settings, device, processes)
        check_judged(task, settings)
        training = begin_training(settings, task, processes) if mode.learns else None
        untouched = training is not None or (exp.load is None and task.zero_shot)
        loaded = None if untouched else load_weights(task, settings)
    with open_session(settings, processes) as session:
        log_opening(session, task, device)
        if loaded is not None:
            session.log(f"weights of {loaded}")
        elif training is None:
            session.log("zero-shot: weights as they were before any training here")
        if training is not None:
            for line in [*begun_said(training), rates_said(settings, training)]:
                session.log(line)
            train_to_end(training, settings, session)
            if session.folder.writes:
                save_adapters(task.model, session.folder.path / "adapter")
                task.finish(session.folder.path)
        split = mode.measures[-1]
        if task.ranks:
            metrics = measure_result(task, split, settings, session)
        else:
            metrics = loss_result(split, training)
        metrics |= noted_start(training, settings)
        session.folder.write_metrics(metrics)
        session.log(f"wrote {session.folder.metrics_file}")
        return metrics


def load_weights(task: Task, settings: Settings) -> Path:
    """Put the weights of ``exp.load`` into the model; returns their checkpoint.

    Raises:
        ValueError: there are none that fit, or the task does not know ``exp.load_epoch``.
    """
    run, epoch = Path(settings.exp.load or ""), settings.exp.load_epoch
    loaded = task.load(run)
    if epoch is not None and loaded.name != best_checkpoint(run, epoch).name:
        raise ValueError(
            f"a model of the family '{settings.model.family}' is loaded from the best epoch alone, asked for "
            f"is epoch {epoch}; leave out `exp.load_epoch` (--epoch)"
        )
    return loaded


def begin_training(settings: Settings, task: Task, processes: Processes) -> Training:
    """Set up the training of a task as ``exp.policy`` says."""
    policy = settings.exp.policy
    options = FitOptions(
        accumulate=policy.acc_batch,
        warmup=policy.warmup,
        clip_norm=policy.clip_norm,
        bf16=policy.precision == "bf16",
        save_every=policy.save_every,
    )
    training = training_of(settings, task, options, processes)
    options.num_steps, options.schedule = num_steps(training.learning.stream, policy), policy.schedule
    if policy.warmup > options.num_steps:
        raise ValueError(
            f"`exp.policy.warmup` must be at most the {options.num_steps:,} steps of this run (`epoch` "
            f"{policy.epoch}), got {policy.warmup:,}: the learning rate would never reach `lr`"
        )
    return training


def num_steps(stream: Stream, policy: PolicySettings) -> int:
    """Optimizer steps of ``policy.epoch`` epochs."""
    return sum(-(-len(stream.epoch(number)) // policy.acc_batch) for number in range(policy.epoch))


def train_to_end(training: Training, settings: Settings, session: Session) -> None:
    """Epochs until ``patience`` or ``epoch`` ends them; the model then has the weights of the best one."""
    folder, stop, policy = session.folder.checkpoints, session.stop, settings.exp.policy
    resumed = training.restore(folder)
    state = training.state
    if resumed is not None:
        if state.epochs:  # the run may have been killed between checkpoint and table
            session.folder.write_epochs(columns(state.epochs, settings), state.epochs)
        session.log(f"resumed at batch {state.progress.next_batch} from {resumed}")
    while not (
        state.measured and (len(state.epochs) >= policy.epoch or state.without_gain > policy.patience)
    ):
        if not state.progress.epoch_done or state.measured:
            train_epoch(training, policy, session)
        if stop or not state.progress.epoch_done:
            training.save(folder)
        stop.check()
        if state.progress.epoch_done:
            try:
                measure_epoch(training, settings, session)
            except Interrupted:
                training.save(folder)
                raise
    training.load_best(folder)
    if policy.keep_epochs > 1 and session.folder.writes:
        kept = kept_epochs(session.folder.path)[1]
        size = sum(map(checkpoint.size, kept.values()))
        session.log(f"kept epochs {', '.join(map(str, kept))}: {size / 1e6:,.1f} MB in {folder}")


def train_epoch(training: Training, policy: PolicySettings, session: Session) -> None:
    """Train to the end of the epoch, or to the next checkpoint."""
    progress, first = training.state.progress, training.processes.is_first
    before = {} if progress.epoch_done else dict(progress.counts)

    def detail(batches: int, seconds: float) -> str:
        counts = {name: count - before.get(name, 0) for name, count in progress.counts.items()}
        rates = [f"{rate_text(count / seconds)} {TOLD.get(name, name)}/s" for name, count in counts.items()]
        return ", ".join([f"step {progress.step:,}", f"loss {progress.loss:.4f}", *rates])

    title = f"epoch {len(training.state.epochs)}"
    silent = not first or shows_bars()
    lines = Lines(f"{title}: batch", session.log, silent=silent, detail=detail, goes_on=True)
    with bar(title, shown=first) as show:

        def advanced(done: int, total: int) -> None:
            show(done, total)
            lines(done, total)

        steps = fit(
            training.model,
            training.learning.stream,
            training.learning.objective,
            training.optimizer,
            training.options,
            progress,
            ahead=training.learning.ahead,
            stop=lambda: bool(session.stop),
            advanced=advanced,
            reporting=lines.is_due,
            processes=training.processes,
        )
        with batches_fitting(policy, progress):
            next(steps)
    training.require_finite()


def measure_epoch(training: Training, settings: Settings, session: Session) -> None:
    """Measure the finished epoch on dev, note whether it is the best, and save.

    Raises:
        Interrupted: the run was asked to stop meanwhile; nothing is noted then.
    """
    state, exp = training.state, settings.exp
    row: dict[str, Any] = {"epoch": state.progress.epoch, "loss": state.progress.loss, **state.progress.terms}
    if exp.policy.simple_dev:
        row["dev_loss"] = dev_loss(training, session)
    else:
        scorer = training.task.scorer("dev")
        row |= measure("dev", scorer, settings, session, dev_metrics(settings)).report
    row = training.processes.from_first(row)  # processors may differ in the last digit; decisions may not
    value = -row["dev_loss"] if exp.policy.simple_dev else worth(row, settings)
    state.note(row, value, exp.policy.keep_epochs)
    training.save(session.folder.checkpoints)
    session.folder.write_epochs(columns(state.epochs, settings), state.epochs)
    shown = "  ".join(f"{name} {row[name]:.4f}" for name in columns([row], settings)[1:])
    mark = "  *" if state.best and state.best["epoch"] == state.progress.epoch else ""
    session.log(f"epoch {state.progress.epoch}  {shown}{mark}")


def columns(epochs: list[dict[str, Any]], settings: Settings) -> list[str]:
    """Columns of the epoch table: number, loss, its terms by name if there are several, dev measures."""
    measured = ["dev_loss"] if settings.exp.policy.simple_dev else dev_metrics(settings)
    terms = {name for row in epochs for name in row} - {"epoch", "loss", *measured}
    return ["epoch", "loss", *sorted(terms), *measured]


def dev_loss(training: Training, session: Session) -> float:
    """Mean training loss on the dev split, with the same negatives in every epoch.

    Raises:
        Interrupted: the run was asked to stop meanwhile.
        NonFiniteError: it is not a number.
    """
    objective, stream, processes = (
        training.learning.objective,
        training.learning.dev_stream(),
        training.processes,
    )
    device = next(training.model.parameters()).device
    totals: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}
    training.model.eval()
    batches, finish = stream.epoch(0), finishing(training.model)
    with torch.no_grad(), bar("dev", shown=processes.is_first, say=session.log) as show:
        for number in batches:
            batch = stream.batch(number)
            own = objective.counts(batch)
            counts = {name: counts.get(name, 0) + count for name, count in own.items()}
            if takes_part(objective, batch):  # else another process has all of it
                for name, total in objective(training.model, batch.to(device)).totals().items():
                    totals[name] = totals.get(name, torch.zeros((), device=device)) + total
            finish()
            show(number + 1, len(batches))
            session.stop.check()
    mean = sum(
        processes.sum(float(totals.get(name, 0.0))) / max(1, processes.sum(count))
        for name, count in counts.items()
    )
    if not math.isfinite(mean):
        raise NonFiniteError(
            f"the dev loss of epoch {training.state.progress.epoch} is {mean:g}; the last checkpoint is "
            "untouched. A lower `lr` or `clip_norm` may help"
        )
    return mean


def measure_result(task: Task, split: str, settings: Settings, session: Session) -> dict[str, Any]:
    """The metrics of one split beside those of untrained baselines, as ``metrics.json`` holds them."""
    saves = settings.exp.evaluation.save_ranking and session.folder.writes
    saved_to = session.folder.path / f"{split}_per_group.parquet" if saves else None
    scorer, slicings = task.scorer(split), task.slices(split)
    own = measure(split, scorer, settings, session, settings.exp.metrics, saved_to, slicings)
    baselines = measure_baselines(task.baselines(split), settings, session, slicings)
    if session.processes.is_first:
        print_measured(split, {settings.model.name: own} | baselines, settings)
    return {
        split: measured_json(own),
        "baselines": {name: measured_json(each) for name, each in baselines.items()},
        "trainable_parameters": num_trainable(task.model),
    }


def loss_result(split: str, training: Training | None) -> dict[str, Any]:
    """The loss of the best epoch on what is held out, where there is nothing to rank."""
    assert training is not None and training.state.best is not None, "such a task is trained"
    loss = -training.state.best["value"]
    return {split: {"loss": loss}, "trainable_parameters": num_trainable(training.model)}


def save_adapters(model: nn.Module, folder: Path) -> None:
    """Write the adapters of the best epoch, of each module that has some, for use outside of legorec."""
    for module in model.modules():
        if isinstance(module, SavesAdapter):
            module.save_adapter(folder)
