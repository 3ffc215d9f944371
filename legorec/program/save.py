"""``legorec save``: the model of a run as a folder that needs neither the run nor its store."""

from __future__ import annotations

import argparse
from pathlib import Path

from legorec.data.raw.command import Arguments


def arguments() -> Arguments:
    """The command line."""
    parser = Arguments(__doc__, prog="legorec save")
    parser.add_argument("run", metavar="RUN", help="the folder of a trained run, or of a saved model")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the model goes")
    parser.add_argument("--epoch", type=int, help="one of those that the run keeps; left out: the best")
    parser.add_argument(
        "--store", type=Path, metavar="FOLDER", help="the store, where it is not where it was"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a saved model that is there")
    return parser


def main(argv: list[str]) -> int:
    """Load the run and save its model; the size and what it holds are printed."""
    args: argparse.Namespace = arguments().parse_args(argv)
    from legorec.recipes.load import load

    trained = load(args.run, device="cpu", epoch=args.epoch, store=args.store)
    folder = trained.save(args.out, overwrite=args.overwrite)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    items = len(trained.data.store.items)
    print(f"wrote {folder}: a model of {items:,} items in {size:,} bytes, without users or histories")
    return 0
