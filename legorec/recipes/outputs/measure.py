"""Rank a split and measure it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from torch import nn

from legorec.batch import Ranking
from legorec.data.disk import written_whole
from legorec.data.evaluation import Impressions
from legorec.engine.progress import bar
from legorec.metrics import MetricReport, evaluate, parse_metric, per_group
from legorec.recipes.assemble import Data
from legorec.recipes.session import Session
from legorec.scorers.clicks import rank
from legorec.scorers.untrained import PopularityBaseline, RandomBaseline

if TYPE_CHECKING:
    from legorec.settings import Settings


@contextmanager
def watched(title: str, data: Impressions, session: Session) -> Iterator[Callable[[int], None]]:
    """A progress bar for ``rank``, which raises ``Interrupted`` when the run was asked to stop."""
    with bar(title, len(data), shown=session.processes.is_first) as show:
        done = 0

        def advance(impressions: int) -> None:
            nonlocal done
            done += impressions
            show(done, len(data))
            session.stop.check()

        yield advance


def evaluate_split(
    model: nn.Module,
    data: Data,
    split: str,
    settings: Settings,
    session: Session,
    names: Sequence[str],
    save_to: Path | None = None,
) -> MetricReport:
    """The metrics of one split.

    Args:
        names: of the metrics.
        save_to: where the value of each metric for each group is written (Parquet), if anywhere.

    Raises:
        Interrupted: the run was asked to stop meanwhile.
    """
    impressions, evaluation = data.impressions(split), settings.exp.evaluation
    with watched(split, impressions, session) as advance:
        ranking = rank(
            model,
            impressions,
            fast=evaluation.fast,
            batch_size=evaluation.batch_size,
            item_page_size=evaluation.item_page_size,
            bf16=settings.exp.policy.precision == "bf16",
            progress=advance,
            processes=session.processes,
            say=session.tell,
        )
    with session.stop.anywhere():
        if save_to is not None:
            save_per_group(ranking, names, save_to)
        return evaluate(ranking, names)


def dev_metrics(settings: Settings) -> list[str]:
    """What is measured after every epoch: ``exp.metrics``, and the one that chooses the best epoch."""
    return list(dict.fromkeys([*settings.exp.metrics, settings.exp.evaluation.metric]))


def check_split(data: Data, split: str, names: Sequence[str]) -> None:
    """Refuse before training what could not be measured behind it.

    Raises:
        ValueError: a split whose labels are not known, or where some metric has no group to average.
    """
    impressions = data.impressions(split)
    part = f"{data.store.path}, split '{getattr(data.settings.splits, split)}'"
    interactions = impressions.interactions
    if not interactions.labelled:
        raise ValueError(f"{part}: its labels are not known, so nothing can be measured on it")
    labels = np.asarray(interactions.labels)
    constant = Ranking(impressions.group, labels, np.zeros(len(labels), np.float32), impressions.group_by)
    try:
        evaluate(constant, names)
    except ValueError as error:
        raise ValueError(f"{part}: {error}; see `exp.metrics` and `data.group_by`") from error


def evaluate_baselines(
    data: Data, split: str, settings: Settings, session: Session
) -> dict[str, MetricReport]:
    """The untrained baselines that ``exp.baselines`` names, through the same scorer."""
    impressions = data.impressions(split)
    found: dict[str, MetricReport] = {}
    for name in settings.exp.baselines:
        model = RandomBaseline(settings.seed) if name == "random" else PopularityBaseline(data.training)
        with watched(name, impressions, session) as advance:
            ranking = rank(model, impressions, progress=advance, processes=session.processes)
        with session.stop.anywhere():
            found[name] = evaluate(ranking, settings.exp.metrics)
    return found


def report_json(report: MetricReport) -> dict[str, Any]:
    """A report as ``metrics.json`` holds it."""
    counted = {"group_by": report.group_by, "rows": report.num_rows, "groups": report.num_groups}
    return {"metrics": dict(report), **counted, "skipped": report.skipped}


def save_per_group(ranking: Ranking, names: Sequence[str], file: Path) -> None:
    """One row per group, a column per metric that is measured by group, empty where one was skipped."""
    table: pl.DataFrame | None = None
    for name in names:
        if parse_metric(name).is_pooled:
            continue
        groups, values = per_group(ranking, name)
        column = pl.DataFrame({ranking.group_by: groups, name: values})
        table = (
            column if table is None else table.join(column, on=ranking.group_by, how="full", coalesce=True)
        )
    if table is not None:
        with written_whole(file, int(table.estimated_size()), "about ") as temporary:
            table.sort(ranking.group_by).write_parquet(temporary)
