"""Metrics as a table on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from legorec.metrics import MetricReport
from legorec.slices import SliceReports


def print_table(title: str, reports: dict[str, MetricReport]) -> None:
    """One row a model, one column a metric; below, what the figures are means of, and the shares of ties."""
    first = next(iter(reports.values()))
    by_basis: dict[str, list[str]] = {}
    for name in first:
        by_basis.setdefault(first.basis(name), []).append(name)
    several = len(by_basis) > 1
    caption = "; ".join(
        f"{', '.join(names)}: {basis}" if several else basis for basis, names in by_basis.items()
    )
    tied = [f"{name} {report.ties:.1%}" for name, report in reports.items() if report.ties]
    if tied:
        caption += f"\nrows that tie with another of their {first.group_by}: {', '.join(tied)}"
    console = _console()
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


def print_slices(rows: dict[str, SliceReports], metric: str) -> None:
    """One table a slicing for one metric: one row a model, one column a part, and its groups at the end."""
    console = _console()
    for slicing, parts in next(iter(rows.values())).items():
        table = Table()
        table.add_column(f"{metric} by {slicing}")
        for part in parts:
            table.add_column(part, justify="right")
        for model, slices in rows.items():
            values = (report.get(metric) for report in slices[slicing].values())
            table.add_row(model, *("-" if value is None else f"{value:.4f}" for value in values))
        table.add_section()
        skipped = [report.skipped[metric] for report in parts.values()]
        groups = [report.num_groups for report in parts.values()]
        measured = (f"{all_ - out:,}" if all_ else "none" for all_, out in zip(groups, skipped, strict=True))
        table.add_row(f"groups by {next(iter(parts.values())).group_by}", *measured)
        if any(skipped):
            table.add_row("skipped", *(f"{count:,}" for count in skipped))
        console.print(table)


def _console() -> Console:
    console = Console()
    # A file or a pipe is as wide as need be.
    return console if console.is_terminal else Console(width=1000)


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
