"""A given list of impressions that divides a source into dev and test."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from legorec.data.raw.command import Arguments
from legorec.data.raw.id_lists import read_ids
from legorec.data.raw.lines import InputError
from legorec.data.writing.spelling import LOOKED_AT, spelt_otherwise
from legorec.data.writing.writer import StoreWriter
from legorec.files.digest import digest_bytes


@dataclass(frozen=True)
class DevList:
    """Raw ids of the impressions that are dev; all others of their source are test."""

    path: Path
    ids: pl.Series

    @property
    def digest(self) -> str:
        """Of the ids, in any order."""
        return digest_bytes("\n".join(self.ids.sort()).encode())

    def part(self, writer: StoreWriter, ids: pl.Series, source: str) -> np.ndarray:
        """0 for dev and 1 for test, for each impression of a source; ids of the list that are none of it are
        counted.

        Args:
            ids: of all impressions of the source.

        Raises:
            InputError: more of it is none, a listed id is that of several impressions, or dev or test would
                be empty.
        """
        ids, max_missing = ids.cast(pl.String), writer.missing.max_missing
        dev = ids.is_in(self.ids.implode())
        unknown = self.ids.filter(~self.ids.is_in(ids.implode()))
        if len(unknown) > max_missing * len(self.ids) or len(unknown) == len(self.ids):
            raise InputError(
                f"{self.path}: {len(unknown):,} of {len(self.ids):,} ids are of no impression of {source}, "
                f"{spelt_otherwise([*unknown.head(LOOKED_AT)], ids, 'that file')}. At most "
                f"{max_missing:.4g} of them may be (--max_missing)"
            )
        named = ids.filter(dev)
        if twice := len(named) - named.n_unique():
            example = named.filter(named.is_duplicated())[0]
            raise InputError(
                f"{source}: '{example}' is the id of several impressions ({twice:,} more of those that "
                f"{self.path} lists), which a list cannot tell apart"
            )
        if dev.all():
            raise InputError(
                f"{self.path} lists all {len(ids):,} impressions of {source}, so that none is left for test; "
                "if the first part of it is meant, --dev_part 0.5 takes the first half"
            )
        writer.dropped(f"ids of {self.path.name} that are of no impression", len(unknown))
        count = int(dev.sum())
        writer.progress.say(
            f"{self.path.name}: {count:,} impressions are dev, the other {len(ids) - count:,} test"
        )
        return (~dev).to_numpy().astype(np.int64)


def dev_arguments(parser: Arguments, source: str) -> None:
    """Add the arguments of a given list; ``source`` says what it divides."""
    parser.add_argument(
        "--dev_impressions",
        type=Path,
        metavar="FILE",
        help=f"with --split once: ids of the impressions of {source} that are dev, in place of a drawn half; "
        "one a line, or a list in .json, .npy or .parquet",
    )
    parser.add_argument(
        "--dev_part",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="how much of that list is dev, from its start; 0.5 where it names dev and then test",
    )


def read_dev_list(args: argparse.Namespace) -> DevList | None:
    """The list that the arguments name, or None; afterwards ``args.dev_impressions`` is its digest.

    Raises:
        InputError: it is malformed, or given without --split once.
    """
    if not 0 < args.dev_part <= 1:
        raise InputError(f"`dev_part` must be above 0 and at most 1, got {args.dev_part:g}; see --dev_part")
    if args.dev_impressions is None:
        if args.dev_part != 1:
            raise InputError("--dev_part is a share of --dev_impressions FILE, which is not given")
        return None
    if args.split != "once":
        raise InputError(f"--dev_impressions goes with --split once, got --split {args.split}")
    ids = read_ids(args.dev_impressions)
    count = int(len(ids) * args.dev_part)
    if not count:
        raise InputError(
            f"--dev_part {args.dev_part:g} of the {len(ids):,} ids of {args.dev_impressions} is none"
        )
    found = DevList(args.dev_impressions, ids.head(count))
    args.dev_impressions = found.digest
    return found
