"""How fast models learn: test metrics after some steps and at the end, of this checkout, of another one and
of a plain form of the same models, over seeds, with paired tests.

    python -m benchmarks.learning --data config/data/goodreads.yaml --data config/data/movielens.yaml \\
        --seed 1 --seed 2 --seed 3 --before ../legorec-before -- --lr 3e-3

Each model is trained with every seed for ``--steps`` steps (0 for none) and, with ``--end "FLAGS"``, once
more to the end that these flags say. ``--before`` is a checkout that runs with its own worker, configuration
and library.
``plain`` has the same settings, but tables drawn from N(0, 1), linear decay, and NAML's items in one weighted
mean without ReLU (``benchmarks/plain_bricks.py``). Flags after ``--`` go to every run.

Values per user are averaged over the seeds and compared by a paired t-test. Finished runs in ``--runs`` are
read, not trained again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import polars as pl

from benchmarks.accuracy import measured
from legorec.settings import SettingsError, read_command_line
from legorec.settings.resolved import run_path
from legorec.significance import Comparison, compare_values

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("naml", "nrms", "lstur", "miner", "fastformer", "dcn", "din", "sasrec")
NOW, BEFORE, PLAIN = "now", "before", "plain"
EXP = "config/exp/tt-nrms.yaml"
PLAIN_SOURCE = ["--model.source.name", "benchmarks.plain_bricks.PlainSource", "--schedule", "linear"]
PLAIN_ITEMS = {
    "lego_naml": "{name: benchmarks.plain_bricks.OnePoolItemEncoder, hidden_dim: '${hidden_size:64}$'}"
}


@dataclass
class Cell:
    """One model of one contender on one data set, with each seed."""

    results: list[dict[str, Any]] = field(default_factory=list)
    per_group: list[pl.DataFrame] = field(default_factory=list)

    def values(self, metric: str) -> list[float]:
        """One a seed."""
        return [result["test"]["metrics"][metric] for result in self.results]

    def means(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """The groups that every seed has, in order, and their mean values over the seeds."""
        by = self.results[0]["test"]["group_by"]
        frame = pl.concat([each.select(by, metric) for each in self.per_group]).drop_nulls()
        joined = frame.group_by(by).agg(pl.col(metric).mean()).sort(by)
        return joined[by].to_numpy(), joined[metric].to_numpy()


def flags_of(contender: str, model: str) -> list[str]:
    """What a contender adds to the flags of every run."""
    if contender != PLAIN:
        return []
    items = PLAIN_ITEMS.get(model)
    return [*PLAIN_SOURCE, *(["--model.item_encoder", items] if items else [])]


def finished(argv: list[str], again: bool) -> tuple[dict[str, Any], Path]:
    """The results of a run of this checkout, and its folder."""
    result = measured(argv, again)
    return result, run_path(read_command_line([*argv, "--overwrite", "true"]))


def finished_elsewhere(
    checkout: Path, argv: list[str], runs: Path, again: bool
) -> tuple[dict[str, Any], Path]:
    """The same by the worker of another checkout, in a folder of its own for these flags and that commit.

    Raises:
        ValueError: the worker fails; with its last line.
    """
    name = hashlib.blake2b(shlex.join(argv).encode(), digest_size=6).hexdigest()
    folder = runs / f"{BEFORE}-{commit(checkout)}" / name
    found = [] if again else sorted(folder.rglob("metrics.json"))
    if not found:
        command = [sys.executable, "worker.py", *argv, "--runs", str(folder.resolve()), "--overwrite", "true"]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, env=environment)
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise ValueError(f"{checkout}: worker.py ended with status {done.returncode}: {' '.join(said)}")
        found = sorted(folder.rglob("metrics.json"))
    return json.loads(found[0].read_text()), found[0].parent


def elsewhere(argv: list[str]) -> list[str]:
    """The same command from another folder: it reads the same store."""
    store = str(Path(read_command_line(argv).data.store).resolve())
    if "--data.store" not in argv:
        return [*argv, "--data.store", store]
    place = argv.index("--data.store") + 1
    return [*argv[:place], store, *argv[place + 1 :]]


def commit(checkout: Path) -> str:
    """The commit of a checkout, or the digest of its path where it has none."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout.strip()[:12]
    return hashlib.blake2b(str(checkout.resolve()).encode(), digest_size=6).hexdigest()


def cell(contender: str, data: str, model: str, flags: list[str], options: argparse.Namespace) -> Cell:
    """Train one model of one contender with every seed."""
    made = Cell()
    for seed in options.seed:
        argv = ["--data", data, "--model", f"config/model/{model}.yaml", "--exp", options.exp]
        argv += ["--seed", str(seed), "--save_ranking", "true", *flags]
        argv += flags_of(contender, model)
        if contender == BEFORE:
            result, folder = finished_elsewhere(options.before, elsewhere(argv), options.runs, options.again)
        else:
            argv += ["--runs", str(options.runs / contender)]
            result, folder = finished(argv, options.again)
        made.results.append(result)
        made.per_group.append(pl.read_parquet(folder / "test_per_group.parquet"))
    return made


def compared(first: Cell, second: Cell, metric: str) -> Comparison:
    """The second minus the first, paired by group."""
    by = first.results[0]["test"]["group_by"]
    (groups, before), (others, after) = first.means(metric), second.means(metric)
    assert (groups == others).all(), "both ranked the same split"
    return compare_values(before, after, metric, by)


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(set(values)) > 1 else "")


def table(cells: dict[str, dict[str, Cell]], metric: str) -> str:
    """One row per model: every contender, then what this checkout gains on each of the others."""
    contenders = list(next(iter(cells.values())))
    others = [name for name in contenders if name != NOW]
    heads = [*contenders, *(f"{NOW} − {name}" for name in others)]
    lines = [f"| {metric} | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for model, row in cells.items():
        texts = [spread(row[name].values(metric)) for name in contenders]
        for name in others:
            found = compared(row[name], row[NOW], metric)
            texts.append(f"{found.difference:+.4f} (p {small(found.p_value)})")
        lines.append(f"| {model} | {' | '.join(texts)} |")
    first = next(iter(cells.values()))[NOW]
    for name in first.results[0]["baselines"]:
        values = [result["baselines"][name]["metrics"][metric] for result in first.results]
        lines.append(f"| {name} | {spread(values)} |{' |' * (len(heads) - 1)}")
    return "\n".join(lines)


def small(p_value: float) -> str:
    """A p-value as short as it can be read."""
    return "< 1e-4" if p_value < 1e-4 else f"= {p_value:.2g}"


def report(options: argparse.Namespace, more: list[str]) -> str:
    """Every table, under the data set and the length of the training."""
    lengths = {}
    if options.steps:
        lengths[f"after {options.steps} steps"] = ["--epoch", "1", "--epoch_batch", str(options.steps)]
    if options.end is not None:
        lengths["at the end"] = shlex.split(options.end)
    contenders = [*([BEFORE] if options.before else []), NOW, *([] if options.no_plain else [PLAIN])]
    parts: list[str] = []
    for data in options.data:
        for title, length in lengths.items():
            cells: dict[str, dict[str, Cell]] = {}
            parts.append("")
            for model in options.model:
                for contender in contenders:
                    print(f"== {Path(data).stem}, {title}: {model}, {contender}", file=sys.stderr, flush=True)
                    made = cell(contender, data, model, [*more, *length], options)
                    cells.setdefault(model, {})[contender] = made
                tables = [table(cells, metric) for metric in options.metric]
                parts[-1] = "\n\n".join([f"### {Path(data).stem}, {title}", *tables])
                if options.out:  # what is done, should the rest be cut off
                    options.out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return "\n\n".join(parts)


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    how = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=how, allow_abbrev=False)
    parser.add_argument("--data", action="append", required=True, metavar="FILE", help="a data layer")
    parser.add_argument("--model", action="append", metavar="NAME", help="in config/model; the eight if none")
    parser.add_argument("--exp", default=EXP, metavar="FILE", help="the exp layer")
    parser.add_argument("--seed", action="append", type=int, required=True)
    parser.add_argument("--steps", type=int, default=300, help="of the short training; 0 leaves it out")
    parser.add_argument("--end", metavar="FLAGS", help="also train with these, as in '--epoch 8'")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT")
    parser.add_argument("--no_plain", action="store_true", help="leave the plain form out")
    parser.add_argument("--metric", action="append", help="gauc if none")
    parser.add_argument("--again", action="store_true", help="train finished runs again")
    parser.add_argument("--runs", type=Path, default=Path("runs/learning"))
    parser.add_argument("--out", type=Path, help="also write the tables here")
    parser.add_argument("more", nargs="*", help="flags of worker.py, behind --")
    return parser


def main(argv: list[str]) -> int:
    """0, or 2 for what can be mended."""
    options = arguments().parse_args(argv)
    options.model = options.model or [f"lego_{name}" for name in MODELS]
    options.metric = options.metric or ["gauc"]
    try:
        if options.before and not (options.before / "worker.py").is_file():
            raise ValueError(f"--before {options.before}: it has no worker.py; name a checkout of legorec")
        if not options.steps and options.end is None:
            raise ValueError("--steps 0 leaves nothing to train without --end 'FLAGS'")
        print(report(options, options.more))
    except (SettingsError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
