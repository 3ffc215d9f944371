"""One run from resolved settings: what ``worker.py`` does after it has read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.table import Table

from legorec.compose import to_yaml
from legorec.engine import checkpoint
from legorec.engine.log import RunLog
from legorec.engine.optim import trainable
from legorec.engine.run import RunFolder, best_checkpoint
from legorec.engine.signals import StopRequest
from legorec.metrics import MetricReport
from legorec.recipes.assemble import Data, build_model, open_data
from legorec.recipes.evaluate import evaluate_baselines, evaluate_split, report_json
from legorec.recipes.train import Training, load_weights, train
from legorec.recommender import Recommender

if TYPE_CHECKING:
    from legorec.settings import Settings


MEASURED_SPLIT = {"train": "dev", "dev": "dev", "test": "test", "train_test": "test"}
NEEDED_SPLITS = {"train": ("train", "dev"), "dev": ("train", "dev"), "test": ("train", "test")} | {
    "train_test": ("train", "dev", "test")
}


def run(settings: Settings, stop: StopRequest) -> dict[str, Any]:
    """Train, measure or both, as ``exp.mode`` says; returns what ``metrics.json`` holds.

    Raises:
        ValueError: something the user can mend (a store, a setting, a folder).
        Interrupted: ``stop`` was set; the folder holds a checkpoint to resume from.
    """
    device = choose_device(settings.device)
    data = open_data(settings.data, NEEDED_SPLITS[settings.exp.mode])
    model = build_model(settings, data, device)
    folder = RunFolder(run_path(settings), resume=settings.resume, overwrite=settings.overwrite)
    try:
        log = RunLog()
        log.open(folder.log_file)
        folder.write_settings(to_yaml(settings.dump()))
        log(f"{folder.path}  on {device}, {_size(model)} trainable parameters")
        if settings.exp.mode.startswith("train"):
            train(Training(settings, data, model, folder, log), stop)
        else:
            path = best_checkpoint(Path(settings.exp.load or ""))
            load_weights(model, checkpoint.load(path), path)
        metrics = _measure(settings, data, model, folder, stop)
        folder.write_metrics(metrics)
        log(f"wrote {folder.metrics_file}")
        return metrics
    finally:
        folder.close()


def _measure(
    settings: Settings, data: Data, model: Recommender, folder: RunFolder, stop: StopRequest
) -> dict[str, Any]:
    """The dev or test metrics that the mode asks for, beside the untrained baselines."""
    split = MEASURED_SPLIT[settings.exp.mode]
    saved_to = folder.path / f"{split}_per_group.parquet" if settings.exp.evaluation.save_ranking else None
    report = evaluate_split(model, data, split, settings, stop, save_to=saved_to)
    baselines = evaluate_baselines(data, split, settings)
    print_table(f"{settings.data.name}: {split}", {settings.model.name: report} | baselines)
    return {
        split: report_json(report),
        "baselines": {name: report_json(each) for name, each in baselines.items()},
    }


def print_table(title: str, reports: dict[str, MetricReport]) -> None:
    """One row a model, one column a metric, and what the figures are means of."""
    first = next(iter(reports.values()))
    table = Table(title=title, caption="; ".join(sorted({first.basis(name) for name in first})))
    table.add_column("model")
    for name in first:
        table.add_column(name, justify="right")
    for model, report in reports.items():
        table.add_row(model, *(f"{value:.4f}" for value in report.values()))
    Console().print(table)


def run_path(settings: Settings) -> Path:
    """``runs/<data>/<model>/<embed>-<exp>-seed<seed>-<digest>``: two different settings never share a folder."""
    name = f"{settings.embed.name}-{settings.exp.name}-seed{settings.seed}-{settings.digest()}"
    return Path(settings.runs) / settings.data.name / settings.model.name / name


def choose_device(name: str) -> torch.device:
    """``auto`` takes the accelerator there is, else the CPU."""
    if name != "auto":
        try:
            return torch.zeros(0, device=name).device
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"`device` '{name}' cannot be used here: {str(error).splitlines()[0]}") from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _size(model: Recommender) -> str:
    return f"{sum(value.numel() for value in trainable(model).values()):,}"
