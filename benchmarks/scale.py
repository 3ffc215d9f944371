"""Whether an example costs the same with a million users and ten million impressions as with a tenth of them.

    python -m benchmarks.scale --users 1000000 --items 200000 --impressions 10000000

Writes three generated stores (about 2 GB): the whole, a tenth of users and impressions over the same items,
and a tenth of everything. Each part runs in a process of its own, whose memory is watched. With --folder the
stores are kept there, and the next run does not write them again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.scale_parts import Memory, alone, watched

LIMIT = 4096  # MiB that processing and training may take
SLACK = 1.1  # of an example's cost, the whole against a tenth
SIZE = ("users", "items", "impressions")


@dataclass
class Figures:
    """The measurements on one store."""

    name: str
    path: Path
    size: tuple[int, ...]  # as in SIZE
    found: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)

    @property
    def store_mib(self) -> float:
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file()) / 2**20


def stores(folder: Path, users: int, items: int, impressions: int) -> list[Figures]:
    """The whole and its tenths."""
    tenth = (users // 10, items, impressions // 10)
    return [
        Figures("whole", folder / "whole", (users, items, impressions)),
        Figures("tenth of users and impressions", folder / "tenth", tenth),
        Figures("tenth of all", folder / "tenth-of-all", (tenth[0], items // 10, tenth[2])),
    ]


def write(store: Figures) -> None:
    """Write a store, as a user would; its cost is noted beside it, for a run that finds the store there."""
    note = store.path.with_suffix(".json")
    if not (store.path.exists() and note.exists()):
        size = [
            part for name, count in zip(SIZE, store.size, strict=True) for part in (f"--{name}", str(count))
        ]
        begin = time.perf_counter()
        command = [sys.executable, "-m", "process.synthetic", *size, "--out", str(store.path), "--overwrite"]
        _, memory = watched(command)
        note.write_text(json.dumps({"seconds": time.perf_counter() - begin, "memory": asdict(memory)}))
    noted = json.loads(note.read_text())
    store.found["write"], store.memory["write"] = noted["seconds"], Memory(**noted["memory"])


def measure(figures: Sequence[Figures], options: argparse.Namespace) -> None:
    """Measure everything; figures to be compared are measured in turns."""

    def alone_on(store: Figures, part: str, *arguments: object) -> None:
        say(f"{store.name}: {part} ...")
        store.found[part], store.memory[part] = alone(part, *arguments, threads=options.threads)

    whole, *tenths = figures
    for store in figures:
        say(f"{store.name}: write ...")
        write(store)
    for store in figures:
        alone_on(store, "train", store.path, options.steps)
    for store in tenths:
        alone_on(store, "compare", whole.path, store.path, options.steps, options.rounds)
    for store in figures:
        alone_on(store, "rank", store.path, options.ranked)


def page(figures: Sequence[Figures], options: argparse.Namespace) -> str:
    """The table; beside a tenth's figure is that of the whole, measured in turns with it."""
    most = f"at most {LIMIT:,}"
    rows: list[tuple[str, Callable[[Figures], str], str]] = [
        ("users, items", lambda each: f"{each.size[0]:,}, {each.size[1]:,}", ""),
        ("training impressions", lambda each: f"{each.size[2]:,}", ""),
        ("store, MiB", lambda each: f"{each.store_mib:,.0f}", ""),
        ("processing, s", lambda each: f"{each.found['write']:,.0f}", ""),
        ("- memory, MiB", lambda each: held(each, "write"), most),
        ("opening, s", lambda each: f"{each.found['train']['opening']:.2f}", ""),
        ("from there to the first batch, s", lambda each: f"{each.found['train']['first batch']:.1f}", ""),
        ("training: memory, MiB", lambda each: held(each, "train"), most),
        ("- s per 1,000 examples", lambda each: pair(each, "train", "seconds"), ""),
        ("- whole : tenth", lambda each: ratio(each, "train"), f"at most {SLACK} (same items)"),
        ("making batches: s per 1,000 examples", lambda each: pair(each, "batches", "seconds"), ""),
        ("- whole : tenth", lambda each: ratio(each, "batches"), ""),
        ("- distinct items of a batch", lambda each: pair(each, "batches", "items"), ""),
        ("ranking: test impressions", lambda each: f"{each.found['rank']['impressions']:,}", ""),
        ("- s", lambda each: f"{each.found['rank']['ranking']:.1f}", ""),
        ("- metrics, s", lambda each: f"{each.found['rank']['metrics']:.2f}", ""),
        ("- memory, MiB", lambda each: held(each, "rank"), most),
    ]
    lines = ["| | " + " | ".join(each.name for each in figures) + " | asked |"]
    lines.append("|---" * (len(figures) + 2) + "|")
    lines += [f"| {name} | " + " | ".join(map(cell, figures)) + f" | {asked} |" for name, cell, asked in rows]
    where = f"{os.cpu_count()} CPU cores, {options.threads} torch threads, Python {platform.python_version()}"
    return "\n".join([f"{where}; NRMS, {options.steps} steps a round, {options.rounds} rounds.", "", *lines])


def held(each: Figures, part: str) -> str:
    """The peak, and the peaks of anonymous memory and of memory mapped from files."""
    memory = each.memory[part]
    return (
        f"{memory.peak:,.0f} ({memory.anonymous:,.0f} + {memory.files:,.0f})" if memory.peak else "not told"
    )


def pair(each: Figures, part: str, what: str) -> str:
    """A tenth's own figure, and that of the whole."""
    if "compare" not in each.found:
        return ""
    whole, own = each.found["compare"][part][what]
    return f"{own:,.4g} (whole {whole:,.4g})"


def ratio(each: Figures, part: str) -> str:
    """The median over the turns."""
    return f"{each.found['compare'][part]['ratio']:.3f}" if "compare" in each.found else ""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--impressions", type=int, default=10_000_000, help="of the train split")
    parser.add_argument("--folder", type=Path, help="for the stores, which stay there")
    parser.add_argument("--steps", type=int, default=50, help="of a round")
    parser.add_argument("--rounds", type=int, default=20, help="of the whole and a tenth in turns")
    parser.add_argument("--ranked", type=int, default=100_000, help="test impressions to rank")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        found = stores(folder.resolve(), options.users, options.items, options.impressions)
        measure(found, options)
        print(page(found, options))


if __name__ == "__main__":
    main()
