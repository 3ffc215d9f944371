"""Whether the last of some models differs from each of the others by more than chance, over finished runs.

    python -m benchmarks.paired "words=runs/ML-100K/NAML/*seed*" "joined=runs/ML-100K/Joined-NAML/*seed*"

The runs were trained with ``--save_ranking true``. The values of a model's runs, one a seed, are averaged for
each impression; the test is paired over impressions (``legorec.significance``). The column of a slice is a
metric too, as in ``--metric "gauc (popularity 1 to 4)"``.
"""

from __future__ import annotations

import argparse
import glob
import sys
from pathlib import Path

import numpy as np
import polars as pl

from legorec.significance import compare_values


def values(pattern: str, metric: str, split: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Groups, the mean of a metric over some runs for each of them, and how many runs there are.

    Raises:
        ValueError: there is no such run, one has not saved its values, or their groups differ.
    """
    folders = [Path(each) for each in sorted(glob.glob(pattern)) if (Path(each) / "metrics.json").is_file()]
    if not folders:
        raise ValueError(f"no finished run is called {pattern}")
    frames = []
    for folder in folders:
        file = folder / f"{split}_per_group.parquet"
        if not file.is_file():
            raise ValueError(f"{file} does not exist; train with --save_ranking true")
        frames.append(pl.read_parquet(file))
    group = frames[0].columns[0]
    groups = frames[0][group].to_numpy()
    if any(not np.array_equal(each[group].to_numpy(), groups) for each in frames):
        raise ValueError(f"the runs of {pattern} rank different groups")
    return groups, np.mean([each[metric].to_numpy() for each in frames], axis=0), len(folders)


def page(named: dict[str, str], metric: str, split: str) -> str:
    """A table: each model beside the last one."""
    found = {label: values(pattern, metric, split) for label, pattern in named.items()}
    *_, (last, (groups, after, _)) = found.items()
    head = f"| {metric} of {split} | seeds | mean | {last} less this | 95% interval | p |"
    lines = [head, f"|---|{'---:|' * 5}"]
    for label, (others, before, count) in found.items():
        if not np.array_equal(others, groups):
            raise ValueError(f"{label} and {last} rank different groups")
        row = f"| {label} | {count} | {np.nanmean(before):.4f} |"
        if label != last:
            both = ~np.isnan(before) & ~np.isnan(after)  # of a slice, those groups that are in it
            gain = compare_values(before[both], after[both], metric.partition(" (")[0])
            row += f" {gain.difference:+.4f} | {gain.low:+.4f} to {gain.high:+.4f} |"
            row += f" {gain.p_value:.2g} |"
        else:
            row += " | | |"
        lines.append(row)
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="LABEL=FOLDERS", help="folders by a pattern, one a seed")
    parser.add_argument("--metric", default="gauc")
    parser.add_argument("--split", default="test")
    args = parser.parse_args(argv)
    named = {label: pattern for label, _, pattern in (text.partition("=") for text in args.runs)}
    try:
        print(page(named, args.metric, args.split))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
