"""Guards measured ratios: one that has fallen below 0.8 of the recorded one fails.

    python -m benchmarks.guard                  measures all, beside benchmarks/recorded.json
    python -m benchmarks.guard store metrics    measures these, and what takes turns with them
    python -m benchmarks.guard --record         writes benchmarks/recorded.json, as `make bench` does
    python -m benchmarks.guard --record --also  keeps what another machine recorded, where that is lower

Ratios are of smaller runs than the benchmark's (`benchmarks.guarded`), recorded at the same sizes. Exit
status 1: a ratio fell.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.guarded import CONTESTS, Contest, Ratio

RECORDED = Path(__file__).with_name("recorded.json")
RECORD = "python -m benchmarks.guard --record"
KEPT = 0.8  # of the recorded ratio
ROUNDS = 7
ATTEMPTS = 3  # one that falls short is measured again, and the best counts
PASSES = 3  # of a recording, whose median counts


@dataclass(frozen=True)
class Finding:
    """A ratio beside the recorded one."""

    name: str
    recorded: float
    measured: float
    full: str

    @property
    def fell(self) -> bool:
        return self.measured < KEPT * self.recorded

    def __str__(self) -> str:
        share = f"{self.measured / self.recorded:.0%} of the recorded {self.recorded:.1f}"
        line = f"{self.name}: {self.measured:.1f}, {share}"
        return f"{line}, below {KEPT:.0%}; measure in full: {self.full}" if self.fell else line


def in_own_folder(contest: Contest) -> dict[str, float]:
    """The ratios of a contest, whose files are removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        return contest.measure(Path(folder), ROUNDS)


def record(contests: Sequence[Contest], say: Callable[[str], None]) -> dict[str, Any]:
    """The median ratio of several passes over all contests, and their spread."""
    passes: dict[str, list[float]] = {}
    for _ in range(PASSES):
        for contest in contests:
            for name, ratio in in_own_folder(contest).items():
                passes.setdefault(name, []).append(ratio)
                say(f"{name}: {ratio:.1f}")
    ratios = {
        each.name: {
            "ratio": round(median(passes[each.name]), 3),
            "lowest": round(min(passes[each.name]), 3),
            "highest": round(max(passes[each.name]), 3),
            "what": described(contest, each),
        }
        for contest in contests
        for each in contest.ratios
    }
    return {
        "command": RECORD,
        "passes": f"the median of {PASSES}, each the median of {ROUNDS} turns, in CPU seconds",
        "machine": machine(),
        "ratios": ratios,
    }


def lower(recorded: dict[str, Any], written: dict[str, Any]) -> dict[str, Any]:
    """Of each ratio the lower record: between processors the same code differs by a third."""
    before = recorded["ratios"]
    ratios = {
        name: before[name]
        if name in before and before[name]["what"] == new["what"] and before[name]["ratio"] < new["ratio"]
        else new
        for name, new in written["ratios"].items()
    }
    return written | {"machine": f"{written['machine']}; and another one before", "ratios": ratios}


def described(contest: Contest, ratio: Ratio) -> str:
    """The measured contests and their sizes."""
    return f"{ratio.what}; {contest.sizes}"


def machine() -> str:
    """The machine."""
    packages = ("torch", "transformers", "polars", "scikit-learn", "unitok")
    versions = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in packages)
    return f"{os.cpu_count()} CPU cores, one torch thread; Python {platform.python_version()}, {versions}"


def findings(contests: Sequence[Contest], recorded: dict[str, Any]) -> Iterator[Finding]:
    """Every ratio beside the recorded one; a contest with a ratio that falls short is repeated.

    Raises:
        ValueError: a ratio was not recorded, or not at these sizes.
    """
    ratios = recorded["ratios"]
    for contest in contests:
        for each in contest.ratios:
            if ratios.get(each.name, {}).get("what") != described(contest, each):
                raise ValueError(f'"{each.name}" was not recorded at the sizes of today; run {RECORD}')
    for contest in contests:
        best: dict[str, float] = {}
        for _ in range(ATTEMPTS):
            for name, ratio in in_own_folder(contest).items():
                best[name] = max(ratio, best.get(name, ratio))
            found = [Finding(name, ratios[name]["ratio"], best[name], contest.full) for name in best]
            if not any(each.fell for each in found):
                break
        yield from found


def chosen(names: Sequence[str]) -> list[Contest]:
    """The contests with ratios of these names; all if none is named."""
    return [each for each in CONTESTS if not names or {ratio.name for ratio in each.ratios} & set(names)]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = [ratio.name for contest in CONTESTS for ratio in contest.ratios]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(every))
    parser.add_argument("--record", action="store_true", help="write benchmarks/recorded.json")
    parser.add_argument("--also", action="store_true", help="with --record: keep what is lower there")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(every)):
        parser.error(f"NAME must be one of {', '.join(every)}, got {', '.join(unknown)}")
    if options.record and options.names:
        parser.error("--record writes all ratios and takes no NAME")
    if options.also and not options.record:
        parser.error("--also goes with --record")
    torch.set_num_threads(1)
    if options.record:
        written = record(CONTESTS, lambda line: print(line, file=sys.stderr, flush=True))
        if options.also:
            written = lower(json.loads(RECORDED.read_text(encoding="utf-8")), written)
        RECORDED.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
        return 0
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    fell = False
    for each in findings(chosen(options.names), recorded):
        print(each, flush=True)
        fell |= each.fell
    if fell:
        print(f"Recorded on {recorded['machine']}; here: {machine()}. New figures that are meant: {RECORD}")
    return int(fell)


if __name__ == "__main__":
    sys.exit(main())
