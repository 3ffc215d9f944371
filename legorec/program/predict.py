"""``legorec predict``: scores and recommendations of a run, from its folder alone."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from legorec.data.raw.command import Arguments

FORMS = {".parquet": "parquet", ".csv": "csv", ".zip": "mind"}


def arguments() -> Arguments:
    """The command line."""
    parser = Arguments(__doc__, prog="legorec predict")
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a trained run")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="a file that ends in " + ", ".join(FORMS)
    )
    parser.add_argument("--split", default="test", help="of the run's store, as the run names it")
    parser.add_argument(
        "--top_k", type=int, metavar="K", help="the best K items for each user, not scores of candidates"
    )
    parser.add_argument(
        "--pairs", type=Path, metavar="FILE", help="score the pairs of this file in place of a split"
    )
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
    form = FORMS.get(args.out.suffix)
    if form is None:
        raise ValueError(f"--out {args.out}: its name ends in none of {', '.join(FORMS)}")
    if args.out.exists() and not args.overwrite:
        raise ValueError(f"--out {args.out} is there; take another name, or --overwrite")
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
