"""Instruction data to a data store: objects with ``instruction``, ``input`` and ``output``.

    python process/instructions.py --train alpaca_data.json --dev_share 0.02 --out data/Alpaca
    python process/instructions.py --train train.json --dev valid.json --test test.json \\
        --out data/TALLRec-json

A file is a JSON list or JSON lines, plain or packed; a split may have several. Each object becomes an item
with its three texts, and an impression of a user of its own without a history, whose candidate it is. Its
label is 0 where the output is the second of ``--answers`` and 1 elsewhere, so that answers of yes and no are
measured, and free text is learned.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from legorec.data.raw.command import open_writer, print_counts, run, store_arguments
from legorec.data.raw.json_lines import json_columns
from legorec.data.raw.lines import InputError, unpacked
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter

KEYS = ("instruction", "input", "output")
SPLITS = ("train", "dev", "test")


def read_instructions(path: Path) -> pl.DataFrame:
    """The three texts of each object of a file, in order.

    Raises:
        InputError: an object lacks one of them, or holds something else than a text there; with its line, or
            its number in a list.
    """
    if is_list(path):
        return _of_list(path)
    parts = [part.select(KEYS) for part in json_columns(path, *KEYS)]
    return pl.concat([pl.DataFrame(schema=dict.fromkeys(KEYS, pl.String)), *parts])


def is_list(path: Path) -> bool:
    """Whether a file is one JSON list: its first character says so."""
    first = next((text.lstrip() for _, text in unpacked(path) if text.strip()), "")
    return first.startswith("[")


def _of_list(path: Path) -> pl.DataFrame:
    text = "".join(block for _, block in unpacked(path))
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise InputError(f"{path}: not a readable JSON list ({problem})") from None
    wrong = [number for number, row in enumerate(rows, 1) if _lacking(row)]
    if wrong:
        lacking = ", ".join(_lacking(rows[wrong[0] - 1]))
        raise InputError(
            f"{path}: row {wrong[0]:,} of its list: it must hold the texts {', '.join(KEYS)}, and lacks "
            f"{lacking}; {len(wrong):,} of {len(rows):,} rows are wrong"
        )
    return pl.DataFrame({key: [row[key] for row in rows] for key in KEYS}, dict.fromkeys(KEYS, pl.String))


def _lacking(row: object) -> list[str]:
    """What an object lacks, or has as something else than a text."""
    return [key for key in KEYS if not isinstance(row, dict) or not isinstance(row.get(key), str)]


def read_splits(args: argparse.Namespace) -> dict[str, pl.DataFrame]:
    """The rows of each split, in order."""
    found = {
        split: pl.concat([read_instructions(path) for path in paths])
        for split in SPLITS
        if (paths := getattr(args, split))
    }
    if args.dev_share is not None:
        rows = found["train"]
        is_dev = np.zeros(len(rows), dtype=bool)
        is_dev[: round(args.dev_share * len(rows))] = True
        is_dev = np.random.default_rng(args.seed).permutation(is_dev)
        found |= {"train": rows.filter(~pl.Series(is_dev)), "dev": rows.filter(pl.Series(is_dev))}
    return found


def write(writer: StoreWriter, splits: dict[str, pl.DataFrame], answers: Sequence[str], file: object) -> None:
    """Everything into the store."""
    yes, no = answers
    parts = []
    for split, rows in splits.items():
        told = rows["output"].str.strip_chars()
        writer.dropped(f"rows with an empty output ({split})", int((told == "").sum()))
        part = rows.filter(told != "")
        parts.append(
            part.with_columns(split=pl.lit(split), id=pl.format("{}-{}", pl.lit(split), _numbers(part)))
        )
    table = pl.concat(parts)
    writer.items(table, [Column(key, "text") for key in KEYS], file=file)
    said = pl.col("output").str.strip_chars()
    for split in splits:
        part = table.filter(pl.col("split") == split)
        writer.kept(f"rows of free text ({split})", len(part.filter(~said.is_in([yes, no]))))
        frame = part.select(
            user="id",
            history=pl.lit([], dtype=pl.List(pl.String)),
            candidates=pl.concat_list("id"),
            labels=pl.concat_list((said != no).cast(pl.UInt8)),
        )
        writer.impressions(split, frame, file)


def _numbers(rows: pl.DataFrame) -> pl.Series:
    return pl.Series(np.arange(1, len(rows) + 1))


def check(args: argparse.Namespace) -> None:
    """Which arguments go together."""
    if args.dev and args.dev_share is not None:
        raise InputError("give --dev or --dev_share, not both")
    if args.dev_share is not None and not 0 < args.dev_share < 1:
        raise InputError(f"--dev_share must be between 0 and 1, got {args.dev_share:g}")
    if args.answers[0] == args.answers[1]:
        raise InputError(f"--answers must be two different texts, got {args.answers[0]!r} twice")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = store_arguments(__doc__)
    for split in SPLITS:
        parser.add_argument(
            f"--{split}",
            type=Path,
            action="append",
            required=split == "train",
            metavar="FILE",
            help="may be given several times",
        )
    parser.add_argument("--dev_share", type=float, help="of the rows of --train, drawn with --seed, as dev")
    parser.add_argument(
        "--answers", nargs=2, default=["Yes.", "No."], metavar=("YES", "NO"), help="outputs that are labels"
    )
    args = parser.parse_args(arguments)
    check(args)
    splits = read_splits(args)
    with open_writer(args, "instructions", "answers", "dev_share") as writer:
        write(writer, splits, args.answers, args.train[0])
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
