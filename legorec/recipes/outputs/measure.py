"""Rank a split and measure it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from legorec.batch import Ranking
from legorec.engine.progress import bar
from legorec.engine.rank import Scorer, rank
from legorec.files.whole import written_whole
from legorec.metrics import MetricReport, evaluate, parse_metric, per_group
from legorec.recipes.outputs.session import Session

if TYPE_CHECKING:
    from legorec.settings import Settings


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
) -> MetricReport:
    """The metrics of one split.

    Args:
        names: of the metrics.
        save_to: where the value of each metric for each group is written (Parquet), if anywhere.

    Raises:
        Interrupted: the run was asked to stop meanwhile.
    """
    ranking = ranked(title, scorer, settings, session)
    with session.stop.anywhere():
        if save_to is not None:
            save_per_group(ranking, names, save_to)
        return evaluate(ranking, names)


def measure_baselines(
    scorers: Mapping[str, Scorer], settings: Settings, session: Session
) -> dict[str, MetricReport]:
    """The metrics of untrained scorers, in fp32."""
    found: dict[str, MetricReport] = {}
    for name, scorer in scorers.items():
        with watched(name, len(scorer), session) as advance:
            ranking = rank(scorer, progress=advance, processes=session.processes)
        with session.stop.anywhere():
            found[name] = evaluate(ranking, settings.exp.metrics)
    return found


def check_measurable(scorer: Scorer, names: Sequence[str]) -> None:
    """Check before training that every metric can be measured after it.

    Raises:
        ValueError: some metric has no group to average.
    """
    label = np.asarray(scorer.label)
    constant = Ranking(scorer.group, label, np.zeros(len(label), np.float32), scorer.group_by)
    try:
        evaluate(constant, names)
    except ValueError as error:
        raise ValueError(f"{scorer.place}: {error}; see `exp.metrics` and `data.group_by`") from error


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
