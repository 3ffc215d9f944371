"""Figures as a table on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table


def print_figures(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = ""
) -> None:
    """One row a line; the first column is what the others, to the right, are of."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=1000)  # a file or a pipe is as wide as need be
    table = Table(title=title, caption=caption or None)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def in_bytes(count: int) -> str:
    """``13.48 GB``, ``2.10 MB``, ``512 bytes``: decimal, as disks are sold."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= size:
            return f"{count / size:,.2f} {unit}"
    return f"{count} bytes"
