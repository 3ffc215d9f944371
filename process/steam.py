"""Play hours of Steam to a data store of likes and dislikes, as TALLRec's examples are made.

    python process/steam.py --source steam --out data/Steam

A game is liked by a user who played it longer than the median of the user's games. There is no time, so the
order of a user's games is drawn with the seed, as TALLRec's for its books (Bao et al., 2023; arXiv
2305.00447). Users of at least four games are drawn into train, dev and test by ``--shares``; each of the last
``--examples`` games of a user, after the third, is an example with the ten before it as history, which carry
a mark: liked or disliked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from legorec.data.ragged import Ragged
from legorec.data.raw.command import open_writer, print_counts, run, shares, store_arguments, text_arguments
from legorec.data.raw.lines import InputError, find_file
from legorec.data.raw.readers import need_columns, numbers_of
from legorec.data.raw.table_files import read_delimited
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter
from process.tallrec import HISTORY, MARKS

LEAST = 3  # games before an example
SPLITS = ("train", "dev", "test")
GAMES, PLAYED = "item_info.dat", "game_play.dat"


def read(source: Path, encoding: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The games (id, name), and who played what for how long (user, id, hours), each pair once.

    Raises:
        InputError: a file is missing or malformed, or hours are no numbers.
    """
    tables = []
    for name, columns in (
        (GAMES, {"Game_ID": "id", "Game Name": "name"}),
        (PLAYED, {"User_ID": "user", "Game_ID": "id", "Hours": "hours"}),
    ):
        file = find_file(source, name)
        frame = read_delimited(file, "\t", encoding=encoding, quoting="none")
        need_columns(frame, list(columns), file.label)
        tables.append(frame.rename(columns))
    games, played = tables
    hours = numbers_of(played, "hours", str(source / PLAYED))
    played = played.with_columns(hours=hours)
    return games, played.group_by("user", "id", maintain_order=True).agg(pl.col("hours").sum())


def sequences(played: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The games of each user with more than ``LEAST``, in a drawn order, and whether each is liked."""
    liked = pl.col("hours") > pl.col("hours").median().over("user")
    drawn = np.random.default_rng([seed, 0]).random(len(played))
    frame = played.with_columns(liked=liked, drawn=pl.Series(drawn))
    frame = frame.filter(pl.len().over("user") > LEAST)
    turn = pl.col("user").rank("dense").cast(pl.Int64) - 1
    return frame.with_columns(turn=turn).sort("turn", "drawn")


def write(
    writer: StoreWriter, games: pl.DataFrame, frame: pl.DataFrame, part: np.ndarray, examples: int, file: Path
) -> None:
    """Everything into the store.

    Args:
        frame: as ``sequences`` has it.
        part: (U,) 0, 1, 2 for users of train, dev and test.
        examples: of each user, at most.
        file: where the games stand that were played, for messages.
    """
    writer.items(games, [Column("name", "text")], file=file)
    writer.users(pl.DataFrame({"id": frame["user"].unique(maintain_order=True)}), file=file)
    counts = np.bincount(frame["turn"].to_numpy(), minlength=len(part))
    items = writer.item_rows("played", frame["id"], file=file)
    if (items < 0).any():
        raise InputError(f"{file}: game '{frame['id'].filter(pl.Series(items < 0))[0]}' is not in {GAMES}")
    liked = frame["liked"].to_numpy().astype(np.uint8)
    clicks, marks = Ragged.from_lengths(items, counts), Ragged.from_lengths(liked, counts)
    writer.sequences(clicks, (marks, MARKS))
    for number, split in enumerate(SPLITS):
        own = np.flatnonzero(part == number)
        shown = np.minimum(examples, counts[own] - LEAST)
        user = np.repeat(own, shown)
        back = Ragged.from_lengths(user, shown).places
        place = counts[user] - 1 - back
        rows = clicks.offsets[user] + place
        candidates = Ragged.from_lengths(items[rows], np.ones(len(rows), dtype=np.int64))
        writer.windows(split, user, np.maximum(0, place - HISTORY), place, candidates, liked[rows])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = store_arguments(__doc__)
    parser.add_argument("--source", type=Path, required=True, metavar="FOLDER", help=f"{PLAYED} and {GAMES}")
    parser.add_argument("--shares", type=shares, default="0.8,0.1,0.1", help="of the users")
    parser.add_argument("--examples", type=int, default=5, help="of each user, at most")
    text_arguments(parser, quoting=False)
    args = parser.parse_args(arguments)
    if args.examples < 1:
        raise InputError(f"--examples must be at least 1, got {args.examples}")
    games, played = read(args.source, args.encoding)
    frame, file = sequences(played, args.seed), args.source / PLAYED
    if not len(frame):
        raise InputError(f"{file}: no user has played more than {LEAST} games")
    users = frame["user"].n_unique()
    part = np.random.default_rng([args.seed, 1]).choice(len(SPLITS), users, p=args.shares)
    with open_writer(args, "steam", "shares", "examples") as writer:
        write(writer, games, frame, part, args.examples, file)
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
