"""A prompt for people to read: in colours on a terminal, as plain lines in a file or a pipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

COLOURS = ("cyan", "green", "yellow", "magenta", "blue")
LEARNED = "bold underline"


@dataclass(frozen=True)
class ShownSegment:
    """One segment of a prompt: tokens from ``start`` to before ``stop``, and which of them are learned.

    Args:
        clicks: how many stand there, and how many would if there were room; None: it shows no clicks.
    """

    name: str
    text: str
    start: int
    stop: int
    tokens: Sequence[str]
    learned: Sequence[bool]
    clicks: tuple[int, ...] | None = None

    def cells(self) -> tuple[str, ...]:
        """Name, place, number of tokens, how many of them are learned, clicks."""
        clicks = "" if self.clicks is None else f"{self.clicks[0]} of {self.clicks[1]}"
        counts = (str(self.stop - self.start), str(sum(self.learned)))
        return self.name, f"{self.start}:{self.stop}", *counts, clicks


@dataclass(frozen=True)
class ShownPrompt:
    """A prompt with its answer.

    Args:
        title: what it is the prompt of.
        answers: the token that each answer is told by, and its id; the positive one first.
    """

    title: str
    segments: Sequence[ShownSegment]
    max_length: int
    loss_on: str
    answers: Sequence[tuple[str, int]]

    def closing(self) -> list[str]:
        """Lines about the whole."""
        learned = [
            token
            for each in self.segments
            for token, is_learned in zip(each.tokens, each.learned, strict=True)
            if is_learned
        ]
        said = f": {' '.join(map(json.dumps, learned))}" if len(learned) < 10 else ""
        lines = [
            f"{self.segments[-1].stop} tokens of at most {self.max_length}",
            f"learned with loss_on {self.loss_on}: {len(learned)}{said}",
        ]
        if left := sum(each.clicks[1] - each.clicks[0] for each in self.segments if each.clicks):
            lines.append(f"left out for lack of room, or by `last`: the {left} oldest clicks")
        if self.answers:
            told = (f"{json.dumps(token)} (id {number})" for token, number in self.answers)
            lines.append(f"asked is {' against '.join(told)}")
        return lines


HEADER = ("segment", "place", "tokens", "learned", "clicks", "text")


def print_prompt_text(shown: ShownPrompt, console: Console | None = None) -> None:
    """Print it, learned tokens underlined on a terminal."""
    console = console or Console()
    if console.is_terminal:
        _coloured(shown, console)
    else:
        _plain(shown, console)


def _coloured(shown: ShownPrompt, console: Console) -> None:
    whole = Text()
    table = Table(title=shown.title, title_justify="left")
    for name in HEADER[:-1]:
        table.add_column(name, justify="right" if name in ("tokens", "learned") else "left")
    for number, each in enumerate(shown.segments):
        colour = COLOURS[number % len(COLOURS)]
        whole.append(each.text, f"{colour} {LEARNED}" if all(each.learned) and each.learned else colour)
        name, *others = each.cells()
        table.add_row(Text(name, colour), *others)
    console.print(table)
    console.print(whole)
    console.rule(style="dim")
    for line in shown.closing():
        console.print(Text(line))


def _plain(shown: ShownPrompt, console: Console) -> None:
    rows = [HEADER, *((*each.cells(), json.dumps(each.text, ensure_ascii=False)) for each in shown.segments)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    for line in [shown.title, *lines, *shown.closing()]:
        console.file.write(line.rstrip() + "\n")
