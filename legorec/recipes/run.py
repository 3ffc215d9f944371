"""One run from resolved settings: what ``worker.py`` does after it has read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.table import Table

from legorec.engine.log import RunLog
from legorec.engine.optim import trainable
from legorec.engine.run import RunFolder
from legorec.engine.signals import Interrupted, StopRequest
from legorec.metrics import MetricReport
from legorec.recipes.assemble import Data, build_model, open_data
from legorec.recipes.evaluate import (
    check_split,
    dev_metrics,
    evaluate_baselines,
    evaluate_split,
    report_json,
)
from legorec.recipes.train import Training, train
from legorec.recipes.trained import load_best
from legorec.recommender import Recommender

if TYPE_CHECKING:
    from legorec.settings import Settings


MEASURED_SPLITS = {"train": ("dev",), "dev": ("dev",), "test": ("test",), "train_test": ("dev", "test")}


def run(settings: Settings) -> dict[str, Any]:
    """Train, measure or both, as ``exp.mode`` says; returns what ``metrics.json`` holds.

    Raises:
        ValueError: something the user can mend (a store, a setting, a folder).
        Interrupted: the process was asked to stop; the folder holds a checkpoint to resume from.
    """
    device, mode = choose_device(settings.device), settings.exp.mode
    data = open_data(settings.data, needed_splits(settings))
    for split in MEASURED_SPLITS[mode]:
        check_split(data, split, dev_metrics(settings) if split == "dev" else settings.exp.metrics)
    model = build_model(settings, data, device)
    # All that can be refused is refused before the folder is touched.
    training = Training(settings, data, model) if mode.startswith("train") else None
    loaded = load_best(Path(settings.exp.load or ""), model, settings, data) if training is None else None
    folder = RunFolder(run_path(settings), resume=settings.resume, overwrite=settings.overwrite)
    with folder, StopRequest() as stop:
        log = RunLog()
        log.open(folder.log_file)
        folder.write_settings(settings.to_yaml())
        log(f"{folder.path}  on {device}, {_size(model)} trainable parameters")
        if loaded is not None:
            log(f"weights of {loaded}")
        try:
            if training is not None:
                train(training, folder, log, stop)
            metrics = _measure(settings, data, model, folder, stop)
        except (Interrupted, ValueError, OSError) as reason:
            log.note(f"stopped: {reason}")
            raise
        folder.write_metrics(metrics)
        log(f"wrote {folder.metrics_file}")
        return metrics


def needed_splits(settings: Settings) -> list[str]:
    """The splits that a run reads: what its mode measures, and training clicks for it or for a baseline."""
    mode = settings.exp.mode
    learns = mode.startswith("train") or "popularity" in settings.exp.baselines
    return ["train", *MEASURED_SPLITS[mode]] if learns else list(MEASURED_SPLITS[mode])


def _measure(
    settings: Settings, data: Data, model: Recommender, folder: RunFolder, stop: StopRequest
) -> dict[str, Any]:
    """The dev or test metrics that the mode asks for, beside the untrained baselines."""
    split = MEASURED_SPLITS[settings.exp.mode][-1]
    saved_to = folder.path / f"{split}_per_group.parquet" if settings.exp.evaluation.save_ranking else None
    report = evaluate_split(model, data, split, settings, stop, settings.exp.metrics, save_to=saved_to)
    baselines = evaluate_baselines(data, split, settings, stop)
    print_table(f"{settings.data.name}: {split}", {settings.model.name: report} | baselines)
    return {
        split: report_json(report),
        "baselines": {name: report_json(each) for name, each in baselines.items()},
    }


def print_table(title: str, reports: dict[str, MetricReport]) -> None:
    """One row a model, one column a metric, and what the figures are means of."""
    first = next(iter(reports.values()))
    by_basis: dict[str, list[str]] = {}
    for name in first:
        by_basis.setdefault(first.basis(name), []).append(name)
    several = len(by_basis) > 1
    caption = "; ".join(
        f"{', '.join(names)}: {basis}" if several else basis for basis, names in by_basis.items()
    )
    console = Console()
    if not console.is_terminal:
        console = Console(width=1000)  # a file or a pipe is as wide as need be
    pages = _pages(list(first), console.width - max(map(len, reports)) - 4)
    for page, names in enumerate(pages):
        last = page == len(pages) - 1
        table = Table(title=None if page else title, caption=caption if last else None)
        table.add_column("model")
        for name in names:
            table.add_column(name, justify="right")
        for model, report in reports.items():
            table.add_row(model, *(f"{report[name]:.4f}" for name in names))
        console.print(table)


def _pages(names: list[str], width: int) -> list[list[str]]:
    """The columns side by side that fit; a figure takes six places, its borders three."""
    pages: list[list[str]] = [[]]
    left = width
    for name in names:
        wide = max(6, len(name)) + 3
        if pages[-1] and wide > left:
            pages.append([])
            left = width
        pages[-1].append(name)
        left -= wide
    return pages


def run_path(settings: Settings) -> Path:
    """``runs/<data>/<model>/<embed>-<exp>-seed<seed>-<digest>``: different settings never share a folder."""
    name = f"{settings.embed.name}-{settings.exp.name}-seed{settings.seed}-{settings.digest()}"
    return Path(settings.runs) / settings.data.name / settings.model.name / name


def choose_device(name: str) -> torch.device:
    """``auto`` takes the accelerator there is, else the CPU."""
    if name != "auto":
        try:
            return torch.zeros(0, device=name).device
        except (RuntimeError, AssertionError) as error:
            first = str(error).splitlines()[0].partition(". ")[0]
            raise ValueError(f"`device` '{name}' cannot be used here: {first}") from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _size(model: Recommender) -> str:
    return f"{sum(value.numel() for value in trainable(model).values()):,}"
