"""Figures of the benchmark as a page of Markdown, each beside its target."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TypeVar

from benchmarks import subject
from benchmarks.testing import PARTS, TestingFigures
from benchmarks.training import TrainingFigures
from legorec.data.store import Store

Figures = TypeVar("Figures")

INTRODUCTION = """# Benchmarks

Measured by `make bench` (`python -m benchmarks.core`): legorec beside a plain baseline on the same data and
the same models, in one run and in turns. The baseline (`benchmarks/plain.py`, `benchmarks/plain_ranking.py`)
is how such libraries are usually written: a Python sample per row through a DataLoader, every slot of history
and candidates encoded at padded length; in testing, item and user vectors are cached, every candidate row is
a sample and metrics loop over the impressions with scikit-learn.

Ratios of smaller runs are in `benchmarks/recorded.json`; `make test-slow` measures them again
(`python -m benchmarks.guard`), and one that fell below 0.8 of the recorded one fails."""


TRAINING_NOTE = """Medians of several rounds. The baseline's loader has no worker processes: making samples
takes about 1 % of its step, and a worker would take a core from the model."""
MEMORY_NOTE = """Growth of the process at its highest, in MiB, after imports and a step of a tiny layer
(torch and numpy import some of their parts at first use). Part of it is freed memory that the C library keeps
for the next step; a lower MALLOC_TRIM_THRESHOLD_ gives that back and makes steps slower."""


@dataclass(frozen=True)
class MetricFigures:
    impressions: int
    rows: int
    seconds: float
    checked: int  # impressions
    difference: float


def page(parts: Sequence[str]) -> str:
    """The whole page."""
    return "\n\n".join([INTRODUCTION, *parts]) + "\n"


def paragraphs(*lines: str) -> str:
    return "\n".join(lines)


def table(
    figures: Sequence[Figures],
    names: Sequence[str],
    rows: Sequence[tuple[str, Callable[[Figures], str], str]],
) -> str:
    """One column per model; every row has a title, a cell for each figure, and the target."""
    lines = ["| | " + " | ".join(names) + " | asked |"]
    lines.append("|---|" + "---|" * (len(names) + 1))
    for title, cell, asked in rows:
        lines.append(f"| {title} | " + " | ".join(cell(each) for each in figures) + f" | {asked} |")
    return "\n".join(lines)


def machine(threads: int, packages: Sequence[str] = ()) -> list[str]:
    """The machine: cores, Python, torch, and further packages by name."""
    versions = [f"{name} {version(name).partition('+')[0]}" for name in ("torch", *packages)]
    return [
        f"- {os.cpu_count()} CPU cores, {threads} torch threads; Python {platform.python_version()},",
        f"  {', '.join(versions)}, CPU only",
    ]


def facts(store: Store, threads: int) -> str:
    """The machine, the data, the sizes."""
    train, test = store.interactions("train"), store.interactions("test")
    clicks = store.spans[:, 1] - store.spans[:, 0]
    words = store.items.field("title@words").rows.lengths
    tables = f"- generated data: {len(store.items):,} items, {len(store.users):,} users, {len(train):,}"
    return paragraphs(
        "## What was run",
        *machine(threads),
        f"{tables} training and {len(test):,} test impressions;",
        f"  on average {words.mean():.1f} words a title and {clicks.mean():.1f} clicks a history",
        f"- batch {subject.BATCH_SIZE}, width {subject.WIDTH}, {subject.NUM_NEGATIVES} negatives;",
        f"  at most {subject.HISTORY_LENGTH} clicks a history and {subject.TITLE_LENGTH} words a title,",
        "  whose category is the second field",
    )


def training(figures: Sequence[TrainingFigures]) -> str:
    """Examples a second, distinct items, the data path."""
    rows: list[tuple[str, Callable[[TrainingFigures], str], str]] = [
        ("baseline, examples/s", lambda each: f"{each.plain:.0f}", ""),
        ("legorec, examples/s", lambda each: f"{each.ours:.0f}", ""),
        ("ratio", lambda each: f"{each.ratio:.1f}", "at least 8"),
        ("distinct items, of filled slots", lambda each: f"{each.distinct_of_filled:.1%}", ""),
        ("distinct items, of padded slots", lambda each: f"{each.distinct_of_padded:.1%}", ""),
        ("making batches, of a step", lambda each: f"{each.batch_share:.1%}", ""),
        ("gathering token ids, of a step", lambda each: f"{each.token_share:.1%}", ""),
        ("data path in all, of a step", lambda each: f"{each.data_share:.1%}", "under 5 %"),
    ]
    return "## Training\n" + TRAINING_NOTE + "\n\n" + table(figures, [f.model.upper() for f in figures], rows)


def testing(figures: Sequence[TestingFigures]) -> str:
    """Seconds of a whole test, split, and the baseline's."""
    first = figures[0]
    rows: list[tuple[str, Callable[[TestingFigures], str], str]] = [
        ("legorec, s", lambda each: f"{each.total:.2f}", "at most 10"),
        *((f"- {part}, s", _cell("parts", part), "") for part in PARTS),
        (f"baseline, s, from {first.sample:,} impressions", lambda each: f"{each.plain_total:.0f}", ""),
        *((f"- {part}, s", _cell("plain_parts", part), "") for part in first.plain_parts),
        ("ratio", lambda each: f"{each.ratio:.0f}", "at least 50"),
        ("largest difference of gauc, ndcg@5, ndcg@10", lambda each: f"{each.difference:.0e}", ""),
    ]
    return paragraphs(
        "## Testing",
        f"{first.impressions:,} impressions, {first.rows:,} rows, {first.histories:,} distinct histories;",
        "medians, from the store's folder to metrics. The split is from a further run. The baseline ran on",
        f"all items and on the first {first.sample:,} impressions; the rest is extrapolated by the number of",
        "histories (encoding users) and of impressions. Metrics are compared on the baseline's scores, but",
        "for MRR, which it computes as if no two candidates tied.",
        "",
        table(figures, [each.model.upper() for each in figures], rows),
    )


def _cell(parts: str, part: str) -> Callable[[TestingFigures], str]:
    return lambda each: f"{getattr(each, parts)[part]:.2f}"


def metrics(figures: MetricFigures) -> str:
    """Only the metrics."""
    return paragraphs(
        "## Metrics alone",
        "AUC (pooled and by impression), MRR, nDCG@5 and nDCG@10 over",
        f"{figures.impressions:,} impressions and {figures.rows:,} rows: {figures.seconds:.2f} s",
        "(asked: at most 5 s).",
        f"Largest difference from the formula applied to each of {figures.checked:,} impressions:",
        f"{figures.difference:.0e} (asked: at most 1e-9).",
    )


def memory(figures: Mapping[str, Mapping[str, float] | None]) -> str:
    """Growth beside the sum that it must not exceed."""
    title = "## Memory in training\n" + MEMORY_NOTE + "\n\n"
    measured = {name: each for name, each in figures.items() if each is not None}
    if not measured:
        return title + "Not measured: this system does not tell."
    first = next(iter(measured.values()))

    def bound(each: Mapping[str, float]) -> float:
        return sum(value for part, value in each.items() if part != "growth")

    rows: list[tuple[str, Callable[[Mapping[str, float]], str], str]] = [
        ("growth", lambda each: f"{each['growth']:.0f}", "at most the sum"),
        *((part, _value(part), "") for part in first if part != "growth"),
        ("sum", lambda each: f"{bound(each):.0f}", ""),
    ]
    return title + table(list(measured.values()), [name.upper() for name in measured], rows)


def _value(part: str) -> Callable[[Mapping[str, float]], str]:
    return lambda each: f"{each[part]:.1f}"


STORE_ASKED = {
    "ratio to UniTok": "at least 100",
    "ratio to the bare words tokenizer": "at most 1.2",
    "ratio to the bare wordpiece tokenizer": "at most 1.2",
    "opening, digests remembered, s": "under 0.5",
}


def store(items: int, users: int, rows: int, figures: Mapping[str, float]) -> str:
    """Writing and opening a store."""
    lines = [f"| {name} | {value:.3g} | {STORE_ASKED.get(name, '')} |" for name, value in figures.items()]
    return paragraphs(
        "## The data store",
        f"{items:,} items, {users:,} users, {rows:,} candidate rows; UniTok's own `tokenize` is timed on a",
        "sample and extrapolated.",
        "",
        "| | measured | asked |",
        "|---|---|---|",
        *lines,
    )
