"""Rank a split and measure it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from torch import nn

from legorec.batch import Ranking
from legorec.data.evaluation import Impressions
from legorec.engine.progress import bar
from legorec.engine.signals import Interrupted, StopRequest
from legorec.metrics import MetricReport, evaluate, parse_metric, per_group
from legorec.recipes.assemble import Data
from legorec.scorers.clicks import rank
from legorec.scorers.untrained import PopularityBaseline, RandomBaseline

if TYPE_CHECKING:
    from legorec.settings import Settings


def rank_split(model: nn.Module, data: Impressions, settings: Settings, title: str, stop: StopRequest) -> Ranking:
    """Scores of every candidate of a split, with a progress bar.

    Raises:
        Interrupted: ``stop`` was set meanwhile.
    """
    evaluation = settings.exp.evaluation
    with bar(title, len(data)) as show:
        done = 0

        def advance(impressions: int) -> None:
            nonlocal done
            done += impressions
            show(done, len(data))
            if stop:
                raise Interrupted

        return rank(
            model,
            data,
            fast=evaluation.fast,
            batch_size=evaluation.batch_size,
            item_page_size=evaluation.item_page_size,
            bf16=settings.exp.policy.precision == "bf16",
            progress=advance,
        )


def evaluate_split(
    model: nn.Module, data: Data, split: str, settings: Settings, stop: StopRequest, save_to: Path | None = None
) -> MetricReport:
    """The metrics of one split.

    Args:
        save_to: where the value of each metric for each group is written (Parquet), if anywhere.
    """
    ranking = rank_split(model, data.impressions(split), settings, split, stop)
    if save_to is not None:
        save_per_group(ranking, settings.exp.metrics, save_to)
    return evaluate(ranking, settings.exp.metrics)


def evaluate_baselines(data: Data, split: str, settings: Settings) -> dict[str, MetricReport]:
    """The untrained baselines that ``exp.baselines`` names, through the same scorer."""
    impressions = data.impressions(split)
    found: dict[str, MetricReport] = {}
    for name in settings.exp.baselines:
        model = RandomBaseline(settings.seed) if name == "random" else PopularityBaseline(data.training())
        found[name] = evaluate(rank(model, impressions), settings.exp.metrics)
    return found


def report_json(report: MetricReport) -> dict[str, Any]:
    """A report as ``metrics.json`` holds it."""
    counted = {"group_by": report.group_by, "rows": report.num_rows, "groups": report.num_groups}
    return {"metrics": dict(report), **counted, "skipped": report.skipped}


def save_per_group(ranking: Ranking, names: list[str], file: Path) -> None:
    """One row per group and a column per metric that is measured by group; empty where the group was skipped."""
    table: pl.DataFrame | None = None
    for name in names:
        if parse_metric(name).is_pooled:
            continue
        groups, values = per_group(ranking, name)
        column = pl.DataFrame({ranking.group_by: groups, name: values})
        table = column if table is None else table.join(column, on=ranking.group_by, how="full", coalesce=True)
    if table is not None:
        table.sort(ranking.group_by).write_parquet(file)
