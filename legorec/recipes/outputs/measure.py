"""Rank a split and measure it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from torch import nn

from legorec.batch import Ranking
from legorec.engine.progress import bar
from legorec.engine.rank import MakesRanking, Scorer, evaluating, rank
from legorec.files.whole import written_whole
from legorec.metrics import MetricReport, evaluate, parse_metric, per_group
from legorec.recipes.outputs.metric_table import print_slices, print_table
from legorec.recipes.outputs.session import Session
from legorec.slices import SliceReports, Slicing, evaluate_slices, per_group_of_slices

if TYPE_CHECKING:
    from legorec.settings import Settings


@dataclass(frozen=True)
class Measured:
    """The metrics of a split, and of each of its parts where it was cut."""

    report: MetricReport
    slices: SliceReports = field(default_factory=dict)


@contextmanager
def watched(title: str, total: int, session: Session) -> Iterator[Callable[[int], None]]:
    """A progress bar to advance; advancing raises ``Interrupted`` when the run was asked to stop."""
    with bar(title, total, shown=session.processes.is_first, say=session.log) as show:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            show(done, total)
            session.stop.check()

        yield advance


@contextmanager
def best_items_watched(
    model: nn.Module, num_users: int, settings: Settings, session: Session
) -> Iterator[Callable[[int, int], None]]:
    """The model as it evaluates, and a bar over users; to advance it raises ``Interrupted`` on request."""
    bf16 = settings.exp.policy.precision == "bf16"
    with bar("users", num_users, shown=session.processes.is_first) as show, evaluating(model, bf16):

        def advanced(done: int, total: int) -> None:
            show(done, total)
            session.stop.check()

        yield advanced


def ranked(title: str, scorer: Scorer, settings: Settings, session: Session) -> Ranking:
    """The scores of all rows, in the precision of the run.

    Raises:
        Interrupted: the run was asked to stop meanwhile.
    """
    with watched(title, len(scorer), session) as advance:
        return rank(
            scorer,
            bf16=settings.exp.policy.precision == "bf16",
            progress=advance,
            processes=session.processes,
            say=session.tell,
        )


def measure(
    title: str,
    scorer: Scorer,
    settings: Settings,
    session: Session,
    names: Sequence[str],
    save_to: Path | None = None,
    slicings: Sequence[Slicing] = (),
) -> Measured:
    """The metrics of one split.

    Args:
        names: of the metrics.
        slicings: of this split, whose parts are measured too.
        save_to: where the value of each metric for each group is written (Parquet), if anywhere.

    Raises:
        Interrupted: the run was asked to stop meanwhile.
    """
    ranking = ranked(title, scorer, settings, session)
    with session.stop.anywhere():
        if save_to is not None:
            save_per_group(ranking, names, save_to, slicings)
        return Measured(evaluate(ranking, names), evaluate_slices(ranking, slicings, names))


def measure_baselines(
    scorers: Mapping[str, Scorer], settings: Settings, session: Session, slicings: Sequence[Slicing] = ()
) -> dict[str, Measured]:
    """The metrics of untrained scorers, in fp32."""
    found: dict[str, Measured] = {}
    names = settings.exp.metrics
    for name, scorer in scorers.items():
        with watched(name, len(scorer), session) as advance:
            ranking = rank(scorer, progress=advance, processes=session.processes)
        with session.stop.anywhere():
            found[name] = Measured(evaluate(ranking, names), evaluate_slices(ranking, slicings, names))
    return found


def print_measured(split: str, rows: Mapping[str, Measured], settings: Settings) -> None:
    """A table of all metrics, and one a slicing: of the metric that chooses epochs if it is reported, else of
    the first one."""
    names, own = settings.exp.metrics, settings.exp.evaluation.metric
    among = next(iter(rows.values())).report.among
    print_table(
        f"{settings.data.name}: {split}{among and f', {among}'}",
        {name: each.report for name, each in rows.items()},
    )
    print_slices({name: each.slices for name, each in rows.items()}, own if own in names else names[0])


def check_measurable(scorer: Scorer, names: Sequence[str]) -> None:
    """Check before training that every metric can be measured after it.

    Raises:
        ValueError: some metric has no group to average.
    """
    label = np.asarray(scorer.label)
    if isinstance(scorer, MakesRanking):  # whether a metric is defined does not depend on the values
        constant = scorer.ranking(np.ones((len(label), scorer.columns)))
    else:
        constant = Ranking(scorer.group, label, np.zeros(len(label), np.float32), scorer.group_by)
    try:
        evaluate(constant, names)
    except ValueError as error:
        raise ValueError(f"{scorer.place}: {error}; see `exp.metrics` and `data.group_by`") from error


def measured_json(measured: Measured) -> dict[str, Any]:
    """What was measured as ``metrics.json`` holds it: a report, and one for each part by slicing and name."""
    found = report_json(measured.report)
    if measured.slices:
        found["slices"] = {
            slicing: {
                part: report_json(report) | {"clicks": report.num_clicks} for part, report in parts.items()
            }
            for slicing, parts in measured.slices.items()
        }
    return found


def report_json(report: MetricReport) -> dict[str, Any]:
    """A report; null stands for a metric that is not defined in a part."""
    counted = {"group_by": report.group_by, "rows": report.num_rows, "groups": report.num_groups}
    metrics = {name: report.get(name) for name in report.skipped}
    among = {"among": report.among} if report.among else {}
    return {"metrics": metrics, **among, **counted, "skipped": report.skipped, "ties": report.ties}


def save_per_group(
    ranking: Ranking, names: Sequence[str], file: Path, slicings: Sequence[Slicing] = ()
) -> None:
    """One row per group, a column per metric that is measured by group, empty where one was skipped.

    The same metric in a part of a slicing is one more column, as ``gauc (popularity 1 to 4)``, empty where
    the group has no click there.
    """
    columns: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    ranked = [name for name in names if not parse_metric(name).is_pooled]
    for name in ranked:
        columns[name] = per_group(ranking, name)
    for name in ranked:
        found = per_group_of_slices(ranking, slicings, name)
        columns |= {f"{name} ({slicing} {part})": values for (slicing, part), values in found.items()}
    table: pl.DataFrame | None = None
    for name, (groups, values) in columns.items():
        column = pl.DataFrame({ranking.group_by: groups, name: values})
        table = (
            column if table is None else table.join(column, on=ranking.group_by, how="full", coalesce=True)
        )
    if table is not None:
        with written_whole(file, int(table.estimated_size()), "about ") as temporary:
            table.sort(ranking.group_by).write_parquet(temporary)
