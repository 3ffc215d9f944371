"""Train a recommender, measure one, or both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from legorec.engine.optim import trainable
from legorec.processes import ALONE, Processes
from legorec.recipes.assemble import Data, build_model, open_data
from legorec.recipes.evaluate import (
    check_split,
    dev_metrics,
    evaluate_baselines,
    evaluate_split,
    report_json,
)
from legorec.recipes.report import print_table
from legorec.recipes.session import Session, choose_device, open_session
from legorec.recipes.train import Training, train
from legorec.recipes.trained import load_best
from legorec.recommender import Recommender

if TYPE_CHECKING:
    from legorec.settings import Settings

MEASURED_SPLITS = {"train": ("dev",), "dev": ("dev",), "test": ("test",), "train_test": ("dev", "test")}


def experiment(settings: Settings, processes: Processes = ALONE) -> dict[str, Any]:
    """Train, measure or both, as ``exp.mode`` says; returns what ``metrics.json`` holds.

    Raises:
        ValueError: something the user can mend (a store, a setting, a folder).
        Interrupted: the process was asked to stop; the folder holds a checkpoint to resume from.
        PeerError: another process failed.
    """
    mode = settings.exp.mode
    with processes.agreeing():  # all that can be refused is refused before the folder is touched
        device = choose_device(settings.device, processes)
        data = open_data(settings, needed_splits(settings))
        for split in MEASURED_SPLITS[mode]:
            check_split(data, split, dev_metrics(settings) if split == "dev" else settings.exp.metrics)
        model = build_model(settings, data, device)
        training = Training(settings, data, model, processes) if mode.startswith("train") else None
        loaded = load_best(Path(settings.exp.load or ""), model, settings, data) if training is None else None
    with open_session(settings, processes) as session:
        together = f", {processes.world} processes" if processes.world > 1 else ""
        session.log(f"{session.folder.path}  on {device}{together}, {_size(model):,} trainable parameters")
        if loaded is not None:
            session.log(f"weights of {loaded}")
        if training is not None:
            train(training, session)
        if training is not None and session.folder.writes:
            save_adapters(model, session.folder.path / "adapter")
        metrics = _measure(settings, data, model, session)
        session.folder.write_metrics(metrics)
        session.log(f"wrote {session.folder.metrics_file}")
        return metrics


def save_adapters(model: Recommender, folder: Path) -> None:
    """Write the adapters of the best epoch, of each brick that has some, for use outside of legorec."""
    for module in model.modules():
        save = getattr(module, "save_adapter", None)
        if save is not None:
            save(folder)


def needed_splits(settings: Settings) -> list[str]:
    """The splits that a run reads: what its mode measures, and training clicks for it or for a baseline."""
    mode = settings.exp.mode
    learns = mode.startswith("train") or "popularity" in settings.exp.baselines
    return ["train", *MEASURED_SPLITS[mode]] if learns else list(MEASURED_SPLITS[mode])


def _measure(settings: Settings, data: Data, model: Recommender, session: Session) -> dict[str, Any]:
    """The dev or test metrics that the mode asks for, beside the untrained baselines."""
    split = MEASURED_SPLITS[settings.exp.mode][-1]
    saves = settings.exp.evaluation.save_ranking and session.folder.writes
    saved_to = session.folder.path / f"{split}_per_group.parquet" if saves else None
    report = evaluate_split(model, data, split, settings, session, settings.exp.metrics, save_to=saved_to)
    baselines = evaluate_baselines(data, split, settings, session)
    if session.processes.is_first:
        print_table(f"{settings.data.name}: {split}", {settings.model.name: report} | baselines)
    return {
        split: report_json(report),
        "baselines": {name: report_json(each) for name, each in baselines.items()},
        "trainable_parameters": _size(model),
    }


def _size(model: Recommender) -> int:
    return sum(value.numel() for value in trainable(model).values())
