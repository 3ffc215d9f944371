"""``legorec predict``: scores and recommendations of a run, from its folder alone."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from legorec.data.raw.command import Arguments

FORMS = {".parquet": "parquet", ".csv": "csv", ".zip": "mind"}


def arguments() -> Arguments:
    """The command line."""
    parser = Arguments(__doc__, prog="legorec predict")
    parser.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help="the folder of a trained run; with --histories also of a saved model",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help=f"a file that ends in {', '.join(FORMS)}; with --histories in .parquet, .csv or .jsonl",
    )
    parser.add_argument("--split", default="test", help="of the run's store, as the run names it")
    parser.add_argument(
        "--top_k", type=int, metavar="K", help="the best K items for each user, not scores of candidates"
    )
    parser.add_argument(
        "--pairs", type=Path, metavar="FILE", help="score the pairs of this file in place of a split"
    )
    parser.add_argument(
        "--histories",
        type=Path,
        metavar="FILE",
        help="the best items for each history of this file, block by block",
    )
    parser.add_argument("--unknown", choices=("error", "skip"), default="error", help="items of --histories")
    parser.add_argument("--epoch", type=int, help="one of those that the run keeps; left out: the best")
    parser.add_argument(
        "--store", type=Path, metavar="FOLDER", help="the store, where it is not where it was"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, xpu, xpu:N or mps")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    return parser


def main(argv: list[str]) -> int:
    """Run mode ``predict`` with the settings that the run saved; the one file goes to ``--out``."""
    from legorec.program.worker import main as work
    from legorec.recipes.outputs.session import settings_file

    args: argparse.Namespace = arguments().parse_args(argv)
    if args.histories is not None:
        return of_histories(args)
    form = FORMS.get(args.out.suffix)
    if form is None:
        raise ValueError(f"--out {args.out}: its name ends in none of {', '.join(FORMS)}")
    check_free(args)
    if args.top_k is not None and args.pairs is not None:
        raise ValueError("--top_k is for the users of a split, --pairs for given pairs: take one of them")
    settings = settings_file(args.run)
    asked = {"split": None if args.pairs else args.split, "top_k": args.top_k, "format": form}
    asked["pairs"] = str(args.pairs) if args.pairs else None
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".predict-", dir=args.out.parent) as runs:
        flags = [
            "--settings",
            str(settings),
            "--exp.mode",
            "predict",
            "--exp.name",
            "predict",
            "--runs",
            runs,
        ]
        flags += ["--exp.load", str(args.run), "--exp.predict", json.dumps(asked), "--device", args.device]
        flags += ["--exp.load_epoch", "null" if args.epoch is None else str(args.epoch)]
        flags += ["--data.store", str(args.store)] if args.store else []
        status = work(flags)
        if status == 0:
            (made,) = Path(runs).rglob(f"prediction*{args.out.suffix}")
            shutil.move(made, args.out)
            print(f"wrote {args.out}")
    return status


def check_free(args: argparse.Namespace) -> None:
    """Raises ValueError: the file is there, and may not be replaced."""
    if args.out.exists() and not args.overwrite:
        raise ValueError(f"--out {args.out} is there; take another name, or --overwrite")


def of_histories(args: argparse.Namespace) -> int:
    """Recommend for the histories of a file, whoever they are of, with a run or a saved model."""
    from legorec.engine.stopping import Interrupted, StopRequest
    from legorec.recipes.load import load
    from legorec.recipes.streamed_histories import answer_file

    if args.pairs is not None:
        raise ValueError("--histories are recommended for, --pairs are scored: take one of them")
    check_free(args)
    trained = load(args.run, device=args.device, epoch=args.epoch, store=args.store)
    k = 10 if args.top_k is None else args.top_k
    stop = StopRequest(parting=f"stopped; {args.out} is as it was")
    try:
        with stop:
            done = answer_file(
                trained, args.histories, args.out, k, unknown=args.unknown, check=stop.check_here
            )
    except Interrupted as stopped:
        print(f"stopped; {args.out} is as it was", file=sys.stderr)
        return stopped.exit_status
    said = f"wrote {args.out}: {done.rows:,} rows for {done.histories:,} histories"
    said += f", {done.by_popularity:,} of them empty and answered by popularity" if done.by_popularity else ""
    print(said + (f"; {done.skipped:,} unknown clicks were skipped" if done.skipped else ""))
    return 0
