"""``legorec graph``: user encoder and predictor of a run as ONNX or as a program of ``torch.export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from legorec.data.raw.command import Arguments


def arguments() -> Arguments:
    """The command line."""
    parser = Arguments(__doc__, prog="legorec graph")
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a trained run")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="ends in .onnx or .pt2")
    return parser


def main(argv: list[str]) -> int:
    """Write the graph; it is kept only if it agrees with the model."""
    args: argparse.Namespace = arguments().parse_args(argv)
    from legorec.recipes.graph import INPUTS, save_graph
    from legorec.recipes.load import load

    trained = load(args.run, device="cpu")
    width = trained.item_vectors.shape[1]
    save_graph(trained.model, args.out, width)
    print(f"wrote {args.out}: {', '.join(INPUTS)} -> scores, with item vectors of width {width}")
    return 0
