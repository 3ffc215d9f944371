"""Find a learning rate: one short sweep over rates that grow at each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from legorec.engine.fit import FitOptions, NonFiniteError, fit
from legorec.engine.progress import bar
from legorec.engine.sweep import Found, Sweep
from legorec.engine.task import Task
from legorec.engine.training import Training
from legorec.processes import ALONE, Processes
from legorec.recipes.inputs.devices import choose_device
from legorec.recipes.inputs.rates import begun_said, training_of
from legorec.recipes.outputs.opening import log_opening
from legorec.recipes.outputs.plot import plot
from legorec.recipes.outputs.session import Session, open_session
from legorec.recipes.outputs.smaller_batches import batches_fitting
from legorec.recipes.run import function_at
from legorec.recipes.train import MakeTask
from legorec.settings.exp_layer import PolicySettings, SweepSettings
from legorec.settings.families import FAMILIES

if TYPE_CHECKING:
    from legorec.settings import Settings

TABLE = "sweep.csv"


def find_lr(
    settings: Settings, processes: Processes = ALONE, make_task: MakeTask | None = None
) -> dict[str, Any]:
    """Sweep over ``exp.sweep``, plot the loss and suggest a rate; returns what ``metrics.json`` holds.

    The model, its batches and all of ``exp.policy`` but warm-up and schedule are those that a training would
    have; the weights are thrown away. All weights have ``lr``, pretrained ones ``item_lr`` where it is given,
    and parts of an item their own rate where they have one: all grow together, by the same factor.

    Raises:
        ValueError: something the user can mend.
        NonFiniteError: the loss is no number at the first step.
        NoMemoryError: a batch does not fit.
        Interrupted: the process was asked to stop; nothing is kept.
    """
    asked, policy = settings.exp.sweep or SweepSettings(), settings.exp.policy
    with processes.agreeing():
        if settings.resume:
            raise ValueError(
                "a sweep takes seconds and is begun anew: leave out `--resume true`; --overwrite true does a "
                "finished one again"
            )
        device = choose_device(settings.device, processes)
        task = (make_task or function_at(FAMILIES[settings.model.family].task))(settings, device, processes)
        training = begin_sweep(settings, task, processes)
    sweep = Sweep(asked.lowest, asked.highest, asked.steps)
    with open_session(settings, processes) as session:
        log_opening(session, task, device)
        ratios = {name: rate / policy.lr for name, rate in named_rates(training, policy).items()}
        groups = {group["base_lr"] / policy.lr for group in training.optimizer.param_groups}
        others = sorted(groups - {*ratios.values()})
        for line in begun_said(training):
            session.log(line)
        run_sweep(training, sweep, policy, session)
        found = sweep.found()
        session.folder.write_table(TABLE, ["step", *ratios, "loss", "smoothed"], rows(sweep, ratios))
        if processes.is_first:
            show(sweep, found, session)
        result = {"find_lr": figures(sweep, found, ratios) | {"ratios_of_parts": others}}
        for line in [*said(found, ratios, policy), *said_of_parts(found, others)]:
            session.log(line)
        session.folder.write_metrics(result)
        session.log(f"wrote {session.folder.path / TABLE} and {session.folder.metrics_file.name}")
        return result


def begin_sweep(settings: Settings, task: Task, processes: Processes) -> Training:
    """Set up the training of a task with constant rates, which the sweep then sets step by step."""
    policy = settings.exp.policy
    options = FitOptions(
        accumulate=policy.acc_batch,
        clip_norm=policy.clip_norm,
        bf16=policy.precision == "bf16",
        check_every=1,  # a sweep ends where the loss is no number, on every device
    )
    return training_of(settings, task, options, processes)


def run_sweep(training: Training, sweep: Sweep, policy: PolicySettings, session: Session) -> None:
    """Steps until the rates are through, or the loss has diverged."""
    progress = training.state.progress
    groups = training.optimizer.param_groups
    ratios = [group["base_lr"] / policy.lr for group in groups]
    before: dict[str, tuple[float, int]] = {}

    def set_rate() -> None:
        for group, ratio in zip(groups, ratios, strict=True):
            group["base_lr"] = sweep.rate(len(sweep.losses)) * ratio

    with bar("sweep", sweep.steps, shown=session.processes.is_first, say=session.log) as show:

        def advanced(done: int, total: int) -> None:
            now = {name: (progress.sums[name], progress.counts[name]) for name in progress.sums}
            parts = {name: (each, before.get(name, (0.0, 0))) for name, each in now.items()}
            before.update(now)
            sweep.add(sum((one[0] - two[0]) / max(1, one[1] - two[1]) for one, two in parts.values()))
            show(len(sweep.losses), sweep.steps)
            set_rate()

        steps = fit(
            training.model,
            training.learning.stream,
            training.learning.objective,
            training.optimizer,
            training.options,
            progress,
            ahead=training.learning.ahead,
            stop=lambda: sweep.done or bool(session.stop),
            advanced=advanced,
            reporting=lambda: True,
            processes=training.processes,
        )
        set_rate()
        while not sweep.done:
            with batches_fitting(policy, progress):
                try:
                    next(steps)
                except NonFiniteError:
                    if not sweep.losses:
                        raise
                    sweep.diverged = True
            session.stop.check()
            if progress.epoch_done:  # the sums of the next epoch begin at 0
                before.clear()


def named_rates(training: Training, policy: PolicySettings) -> dict[str, float]:
    """The rates of ``exp.policy`` by name."""
    rates = {"lr": policy.lr}
    if training.item_lr is not None:
        rates["item_lr"] = training.item_lr
    return rates


def rows(sweep: Sweep, ratios: dict[str, float]) -> list[dict[str, float]]:
    """The table of steps: the rate of each group, the loss of the step and its smoothed value."""
    rates = [{name: ratio * rate for name, ratio in ratios.items()} for rate in sweep.rates]
    return [
        {"step": step, **own, "loss": loss, "smoothed": smooth}
        for step, (own, loss, smooth) in enumerate(zip(rates, sweep.losses, sweep.smoothed(), strict=True))
    ]


def figures(sweep: Sweep, found: Found, ratios: dict[str, float]) -> dict[str, Any]:
    """What ``metrics.json`` says of a sweep."""
    return {
        "suggested": suggested(found, ratios),
        "why": found.why,
        "ratios": ratios,
        "steps": len(sweep.losses),
        "diverged": sweep.diverged,
    }


def suggested(found: Found, ratios: dict[str, float]) -> dict[str, float] | None:
    """The rate of each group, to two digits."""
    if found.rate is None:
        return None
    return {name: float(f"{ratio * found.rate:.2g}") for name, ratio in ratios.items()}


def said(found: Found, ratios: dict[str, float], policy: PolicySettings) -> list[str]:
    """The suggestion in words, and as flags.

    They name the schedule too: beside a rate that is named, what the model suggests of it is not read.
    """
    rates: dict[str, Any] | None = suggested(found, ratios)
    if rates is None:
        return [f"no rate is suggested: {found.why}"]
    given = {name: getattr(policy, name) for name in ("warmup", "schedule", "epoch")}
    others = {name: each for name, each in given.items() if each != PolicySettings.model_fields[name].default}
    shown = {name: f"{rate:g}" for name, rate in rates.items()} | others
    lines = [f"suggested: {' '.join(f'--{name} {value}' for name, value in shown.items())}", found.why]
    if "item_lr" in ratios:
        lines.append(f"item_lr was {ratios['item_lr']:g} times lr at each step, the ratio of exp.policy")
    return lines


def said_of_parts(found: Found, ratios: list[float]) -> list[str]:
    """What became of parts of the model that have a learning rate of their own."""
    if not ratios:
        return []
    line = (
        f"parts with a rate of their own: {', '.join(f'{ratio:g}' for ratio in ratios)} times lr at each step"
    )
    if found.rate is not None:
        line += (
            f", which is {', '.join(f'{ratio * found.rate:.2g}' for ratio in ratios)} beside the suggestion"
        )
    return [line]


def show(sweep: Sweep, found: Found, session: Session) -> None:
    """Print the plot, and add it to the log."""
    if len(sweep.losses) < 2:
        return
    title = "training loss over lr   . of a step   * smoothed" + ("   | suggested" if found.rate else "")
    lines = [f"{'':>9}{title}", *plot(sweep.rates, sweep.losses, sweep.smoothed(), found.rate)]
    print("\n".join(lines), flush=True)
    session.log.note("\n".join(["", *lines]))
