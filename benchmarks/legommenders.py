"""legorec beside Legommenders, from MIND's raw files to metrics, as a Markdown table.

    python -m benchmarks.legommenders --raw MIND --legommenders CHECKOUT --python CHECKOUT/venv/bin/python

``--raw`` holds MIND unpacked in ``train/`` and ``dev/``, as Legommenders wants it. ``--legommenders`` is a
checkout of its version 2, whose file ``.data`` names that folder (``mind = /path/to/MIND``) and whose
``data/mind`` is not there yet. It is run by the interpreter ``--python``, in its own folder and by its own
commands, which write their tables and checkpoints there; nothing of it is imported. Without a checkout only
legorec is run. The output of each command is in ``--out``.

Both train until ``patience`` epochs bring no better GAUC, and are measured over users. What differs is said
below the table. Flags after ``--`` go to trainer.py, those of ``--ours "..."`` to worker.py.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
METRIC = re.compile(r"(?:^|\s)([A-Z]+(?:@\d+)?): (\d+\.\d+|nan)$")
ENDED = "Training Ended"  # what trainer.py prints between training and testing
NAMES = {"GAUC": "gauc", "MRR": "mrr", "NDCG@5": "ndcg@5", "NDCG@10": "ndcg@10"}
DIFFERENCES = """\
- test: all impressions of dev/ (Legommenders), half of them (legorec, `--split once`; the others are dev)
- dev: a tenth of the users of train/, who are left out of training (Legommenders), a half of dev/ (legorec)
- history: one for each user, the oldest clicks (Legommenders), the latest before each impression (legorec)
- titles: tokens of BERT (Legommenders), words (legorec, unless `--ours` names another tokenization)
- negatives, learning rate after warm-up and the ends of epochs follow each library's own rules"""


@dataclass
class Side:
    """What one library has done: seconds by stage, metrics, and what went wrong."""

    name: str
    seconds: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    problem: str = ""


def theirs(args: argparse.Namespace) -> dict[str, list[str]]:
    """The commands of Legommenders: raw files to its tables, then training and testing in one."""
    flags = {
        "data": "config/data/mind.yaml",
        "model": f"config/model/{args.model}.yaml",
        "hidden_size": args.hidden_size,
        "lr": args.lr,
        "batch_size": args.batch_size,
        "patience": args.patience,
        "item_page_size": 0,
    }
    if args.device == "cpu":
        flags["cuda"] = -1
    more = [str(part) for key, value in flags.items() for part in (f"--{key}", value)]
    return {
        "process": [args.python, "process.py", "--data", "mind"],
        "train": [args.python, "trainer.py", *more, *args.more],
    }


def ours(args: argparse.Namespace) -> dict[str, list[str]]:
    """The commands of legorec; the test is told its run when that is there."""
    out = args.out.resolve()
    raw, store = args.raw.resolve(), out / "store"
    layers = ["--data", "config/data/mind.yaml", "--model", f"config/model/lego_{args.model}.yaml"]
    flags = {
        "data.store": store,
        "data.fields": "{title@words: {max_length: 50}, category: {}}",
        "data.group_by": "user",
        "hidden_size": args.hidden_size,
        "embed_hidden_size": args.hidden_size,
        "batch_size": args.batch_size,
        "patience": args.patience,
        "lr": args.lr,
        "device": args.device,
        "exp.baselines": "[]",  # Legommenders ranks none
        "runs": out / "runs",
    }
    more = [str(part) for key, value in flags.items() for part in (f"--{key}", value)]
    more += shlex.split(args.ours)
    measuring = list(more)
    if "--epoch" in measuring:  # there it would name an epoch that the run keeps
        place = measuring.index("--epoch")
        del measuring[place : place + 2]
    process = ["--train", raw / "train", "--dev", raw / "dev", "--split", "once", "--out", store]
    return {
        "process": [sys.executable, "process/mind.py", *map(str, process), *shlex.split(args.process)],
        "train": [sys.executable, "worker.py", *layers, "--exp", "config/exp/train.yaml", *more],
        "rank": [sys.executable, "worker.py", *layers, "--exp", "config/exp/test.yaml", *measuring],
    }


def run(command: list[str], folder: Path, log: Path, seen: Callable[[str], None] = lambda line: None) -> str:
    """Run a command in a folder with its output in a file; returns what went wrong, or ""."""
    with open(log, "w", encoding="utf-8") as file:
        file.write(f"{shlex.join(command)}\n")
        try:
            started = subprocess.Popen(
                command,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as problem:
            return f"{command[0]} cannot be run ({problem.strerror})"
        last = ""
        with started:
            for line in started.stdout or ():
                file.write(line)
                plain = COLOUR.sub("", line).strip()
                last = plain or last
                seen(plain)
    return f"status {started.returncode}, {last or 'no output'} (see {log})" if started.returncode else ""


def run_theirs(args: argparse.Namespace) -> Side:
    """Process, train and test with the checkout."""
    side, folder, ended = Side("Legommenders"), args.legommenders, []

    def seen(line: str) -> None:
        if line.endswith(ENDED):
            ended.append(time.perf_counter())
        elif ended and (found := METRIC.search(line)):
            side.metrics[NAMES.get(found[1], found[1].lower())] = float(found[2])

    for stage, command in theirs(args).items():
        begin = time.perf_counter()
        side.problem = run(command, folder, args.out / f"legommenders-{stage}.log", seen)
        end = time.perf_counter()
        if side.problem:
            side.problem = f"{stage}: {side.problem}"
            return side
        side.seconds[stage] = (ended[-1] if ended else end) - begin
        if ended:
            side.seconds["rank"] = end - ended[-1]
    if not side.metrics:
        log = args.out / "legommenders-train.log"
        side.problem = f"train: no line '{ENDED}' with metrics after it (see {log}); is it another version?"
    return side


def run_ours(args: argparse.Namespace) -> Side:
    """Process, train and test with legorec."""
    side = Side("legorec")
    for stage, command in ours(args).items():
        runs = sorted((args.out / "runs").rglob("metrics.json"), key=lambda path: path.stat().st_mtime)
        if stage == "rank":
            command = [*command, "--load", str(runs[-1].parent.resolve())]
        begin = time.perf_counter()
        side.problem = run(command, ROOT, args.out / f"legorec-{stage}.log")
        side.seconds[stage] = time.perf_counter() - begin
        if side.problem:
            side.problem = f"{stage}: {side.problem}"
            return side
    newest = max((args.out / "runs").rglob("metrics.json"), key=lambda path: path.stat().st_mtime)
    side.metrics = json.loads(newest.read_text())["test"]["metrics"]
    return side


def table(sides: list[Side]) -> str:
    """One row per library: seconds by stage, then metrics."""
    stages, metrics = ["process", "train", "rank"], list(NAMES.values())
    lines = ["| | " + " | ".join([*(f"{stage}, s" for stage in stages), "in all, s", *metrics]) + " |"]
    lines.append("|---|" + "---:|" * (len(stages) + 1 + len(metrics)))
    for side in sides:
        cells = [f"{side.seconds[stage]:.1f}" if stage in side.seconds else "" for stage in stages]
        cells.append("" if side.problem else f"{sum(side.seconds.values()):.1f}")
        cells += [f"{side.metrics[name]:.4f}" if name in side.metrics else "" for name in metrics]
        lines.append(f"| {side.name} | {' | '.join(cells)} |")
    lines += [f"\n{side.name} failed in {side.problem}" for side in sides if side.problem]
    return "\n".join(lines)


def check(args: argparse.Namespace) -> None:
    """Refuse what would fail after hours, or would not be timed.

    Raises:
        ValueError: raw files or the checkout are not as they must be.
    """
    for part in ("train", "dev"):
        for name in ("news.tsv", "behaviors.tsv"):
            if not (args.raw / part / name).is_file():
                raise ValueError(f"{args.raw / part / name}: there is no such file; --raw is MIND unpacked")
    if args.out.exists() and any(args.out.iterdir()):
        raise ValueError(f"{args.out}: it is not empty, and old stores and runs would be taken for new ones")
    if args.legommenders is None:
        return
    for name in ("process.py", "trainer.py", "config/data/mind.yaml", f"config/model/{args.model}.yaml"):
        if not (args.legommenders / name).is_file():
            raise ValueError(f"{args.legommenders / name}: there is no such file; is it Legommenders 2?")
    named, wanted = args.legommenders / ".data", f"mind = {args.raw.resolve()}"
    lines = named.read_text(encoding="utf-8").splitlines() if named.is_file() else []
    pairs = [[part.strip() for part in line.split("=", 1)] for line in lines if "=" in line]
    named_folders = [args.legommenders / value for key, value in pairs if key.lower() == "mind"]
    if args.raw.resolve() not in [folder.resolve() for folder in named_folders]:
        raise ValueError(f"{named}: it must name the raw files for Legommenders; add the line '{wanted}'")
    if (made := args.legommenders / "data" / "mind").exists():
        raise ValueError(f"{made}: it is there already, so processing would not be timed; move it away")


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    how = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=how, allow_abbrev=False)
    parser.add_argument("--raw", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--legommenders", type=Path, metavar="CHECKOUT")
    parser.add_argument("--python", default=sys.executable, metavar="FILE", help="that runs the checkout")
    parser.add_argument("--model", choices=("naml", "nrms"), default="naml")
    parser.add_argument("--hidden_size", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--patience", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--ours", default="", metavar="FLAGS", help="more flags of worker.py")
    parser.add_argument("--process", default="", metavar="FLAGS", help="more flags of process/mind.py")
    parser.add_argument("--out", type=Path, default=Path("runs/beside-legommenders"), metavar="FOLDER")
    parser.add_argument("--dry_run", action="store_true", help="print the commands and run nothing")
    parser.add_argument("more", nargs="*", help="flags of trainer.py, behind --")
    return parser


def main(argv: list[str]) -> int:
    """0 where both sides ran, 1 where one failed, 2 for what can be mended before."""
    args = arguments().parse_args(argv)
    commands = [("legorec", ours(args))] + [("Legommenders", theirs(args))] * (args.legommenders is not None)
    if args.dry_run:
        for name, stages in commands:
            print("\n".join([name, *(f"  {shlex.join(command)}" for command in stages.values())]))
        return 0
    try:
        check(args)
    except (ValueError, OSError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    sides = [run_ours(args)] + ([run_theirs(args)] if args.legommenders else [])
    print(table(sides))
    if args.legommenders:
        print(f"\nWhat differs:\n{DIFFERENCES}")
    return int(any(side.problem for side in sides))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
