"""Test metrics of models over several seeds, beside the untrained baselines, as a Markdown table.

    python -m benchmarks.accuracy --data config/data/movielens.yaml --model lego_nrms --model lego_naml \\
        --seed 1 --seed 2 --seed 3 -- --batch_size 256 --lr 2e-3

``--model`` is a name in config/model. ``--run "LABEL=FLAGS"`` is another row, whose flags for worker.py name
its layers. Flags after ``--`` go to every run. Finished runs in ``--runs`` are read, not trained again. With
``--slices '{}'`` among them, a table of the first metric follows for each slicing. ``--then FLAGS`` measures
each trained run once more, as a table of its own: ``--then '--exp config/exp/test.yaml --candidates full'``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from legorec.recipes.run import run
from legorec.settings import Settings, SettingsError, read_command_line
from legorec.settings.resolved import run_path


def asked(arguments: list[str]) -> Settings:
    """The settings of a run; what was begun is begun anew."""
    return read_command_line([*arguments, "--overwrite", "true"])


def measured(arguments: list[str], again: bool = False) -> dict[str, Any]:
    """The content of ``metrics.json`` after a run with these arguments, and its seconds if it ran now."""
    settings = asked(arguments)
    finished = run_path(settings) / "metrics.json"
    if finished.is_file() and not again:
        return json.loads(finished.read_text())
    begin = time.perf_counter()
    return run(settings) | {"seconds": time.perf_counter() - begin}


def once_more(trained: list[str], then: list[str]) -> list[str]:
    """The arguments that measure again what ``trained`` trained: all of these but the exp layer."""
    kept = [
        part
        for flag, value in zip(trained[::2], trained[1::2], strict=True)
        if not (flag in {"--exp", "--epoch", *then} or flag.startswith("--exp."))
        for part in (flag, value)
    ]
    return [*kept, "--load", str(run_path(asked(trained))), *then]


def row(name: str, results: list[dict[str, Any]], names: list[str]) -> str:
    """Mean and standard deviation over the seeds."""
    cells = [cell([result["metrics"][metric] for result in results]) for metric in names]
    return f"| {name} | {' | '.join(cells)} |"


def cell(values: list[float | None]) -> str:
    """The mean and its spread; seeds share a split, so a metric is defined for all of them or for none."""
    found = [value for value in values if value is not None]
    spread = f" ± {stdev(found):.4f}" if len(found) > 1 and len(set(found)) > 1 else ""
    return f"{mean(found):.4f}{spread}" if found else "-"


def table(runs: dict[str, list[dict[str, Any]]], split: str = "test") -> str:
    """One row per model, then one per baseline."""
    first = next(iter(runs.values()))
    names = list(first[0][split]["metrics"])
    lines = [f"| model | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    lines += [row(model, [result[split] for result in results], names) for model, results in runs.items()]
    for baseline in first[0]["baselines"]:
        lines.append(row(baseline, [result["baselines"][baseline] for result in first], names))
    return "\n".join(lines)


def slice_tables(runs: dict[str, list[dict[str, Any]]], split: str = "test") -> str:
    """A table for each slicing of the runs: one row per model and baseline, one column per part, with the
    groups that its figures are means of."""
    first = next(iter(runs.values()))
    metric = next(iter(first[0][split]["metrics"]))
    every = [(model, [result[split] for result in results]) for model, results in runs.items()]
    every += [(name, [result["baselines"][name] for result in first]) for name in first[0]["baselines"]]
    tables = []
    for slicing, parts in first[0][split].get("slices", {}).items():
        heads = [
            f"{part} ({report['groups'] - report['skipped'][metric]:,})" for part, report in parts.items()
        ]
        lines = [f"| {metric} by {slicing} | {' | '.join(heads)} |", f"|---|{'---:|' * len(parts)}"]
        for name, reports in every:  # a model may be called as a baseline is
            own = [[each["slices"][slicing][part]["metrics"][metric] for each in reports] for part in parts]
            lines.append(f"| {name} | {' | '.join(map(cell, own))} |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def main(argv: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="the data layer of every --model")
    parser.add_argument("--model", action="append", default=[], help="a name in config/model")
    parser.add_argument("--exp", default="config/exp/tt-nrms.yaml", help="the exp layer of every --model")
    parser.add_argument("--run", action="append", default=[], metavar="LABEL=FLAGS")
    parser.add_argument("--seed", action="append", type=int, required=True)
    parser.add_argument("--then", default="", metavar="FLAGS", help="measure each run again with these flags")
    parser.add_argument("--again", action="store_true", help="train finished runs again")
    parser.add_argument("--out", type=Path, help="also write the table here")
    parser.add_argument("more", nargs="*", help="flags of worker.py, behind --")
    args = parser.parse_args(argv)
    if bool(args.model) != (args.data is not None) or not (args.model or args.run):
        parser.error("name --data with one --model at least, or one --run at least")
    rows = {
        model: ["--data", args.data, "--model", f"config/model/{model}.yaml", "--exp", args.exp]
        for model in args.model
    }
    for label, _, flags in (text.partition("=") for text in args.run):
        rows[label] = shlex.split(flags)
    then = shlex.split(args.then)
    runs: dict[str, list[dict[str, Any]]] = {}
    others: dict[str, list[dict[str, Any]]] = {}
    try:
        for label, flags in rows.items():
            for seed in args.seed:
                own = [*flags, "--seed", str(seed), *args.more]
                runs.setdefault(label, []).append(measured(own, args.again))
                if then:
                    others.setdefault(label, []).append(measured(once_more(own, then), args.again))
    except (SettingsError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    parts = [part for each in (runs, others) if each for part in (table(each), slice_tables(each)) if part]
    text = "\n\n".join(parts)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
