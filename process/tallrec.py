"""TALLRec's movie task from MovieLens-100K: its prompts byte for byte, and a data store of the same examples.

    python process/tallrec.py --source ml-100k --out data/TALLRec-movie --json data/tallrec-movie

Users in the order in which they appear, their ratings in time; each rating after the tenth is an example with
the ten before it as history, which carry a mark: liked (more than 3) or disliked. The last 10,000 examples
are 8,000 of train, 1,000 of dev and 1,000 of test, in this order (Bao et al., 2023; arXiv 2305.00447).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from legorec.data.ragged import Ragged
from legorec.data.raw.command import open_writer, print_counts, run, store_arguments, text_arguments
from legorec.data.raw.lines import InputError
from legorec.data.raw.movielens import Folder, MovieLens, read_movielens
from legorec.data.raw.readers import numbers_of
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter
from legorec.files.whole import save_whole

HISTORY = 10  # ratings before each example
SIZES = {"train": 8000, "dev": 1000, "test": 1000}
JSON_NAMES = {"train": "train.json", "dev": "valid.json", "test": "test.json"}
TEST = "test"  # whose labels are never shuffled
MARKS = ("disliked", "liked")
INSTRUCTION = (
    "Given the user's preference and unpreference, identify whether the user will like the target movie by "
    'answering "Yes." or "No.".'
)


class Sequences:
    """The ratings of every user in time, users in the order in which they appear in the file.

    Args:
        raw: the tables of MovieLens-100K.
        above: ratings above this are likes.
        shuffle: a seed, by which the labels of train, and those of dev, change places among themselves: a
            control, in which there is nothing to learn. Marks of histories and test stay what they are.
    """

    def __init__(self, raw: MovieLens, above: float, shuffle: int | None = None) -> None:
        self.shuffle = shuffle
        name = (
            pl.when(pl.col("year").is_null()).then("title").otherwise(pl.format("{} ({})", "title", "year"))
        )
        self.items = raw.items.with_columns(name=name)
        liked = pl.Series(numbers_of(raw.ratings, "rating", raw.files[2]) > above)
        users = raw.ratings["user"].unique(maintain_order=True)
        turns = pl.DataFrame({"user": users, "turn": np.arange(len(users))})
        ratings = raw.ratings.with_columns(liked=liked).with_row_index("place").join(turns, on="user")
        # Times are compared as text, as they were for the published files; equal ones keep the file's order.
        self.ratings = ratings.sort("turn", "time", "place")
        known = self.ratings["item"].is_in(self.items["id"].implode())
        if not known.all():
            unknown = self.ratings["item"].filter(~known)[0]
            raise InputError(f"{raw.files[2]}: item '{unknown}' is not in {raw.files[0]}")
        self.users = users
        self.counts = np.bincount(self.ratings["turn"].to_numpy(), minlength=len(users))

    def windows(self) -> np.ndarray:
        """(n, 2) the user, in order, and the place within its ratings, of each example."""
        rows = [
            np.stack([np.full(max(0, count - HISTORY), user), np.arange(HISTORY, max(HISTORY, count))], 1)
            for user, count in enumerate(self.counts)
        ]
        found = np.concatenate(rows) if rows else np.empty((0, 2), np.int64)
        total = sum(SIZES.values())
        if len(found) < total:
            raise InputError(
                f"there are {len(found):,} examples, {total:,} are needed: is this MovieLens-100K?"
            )
        return found[-total:]

    def parts(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Each split, its examples as ``windows`` has them, and whether each is liked."""
        windows, start = self.windows(), 0
        liked = self.ratings["liked"].to_numpy()
        starts = np.concatenate([[0], np.cumsum(self.counts)])
        for number, (split, size) in enumerate(SIZES.items()):
            part = windows[start : start + size]
            labels = liked[starts[part[:, 0]] + part[:, 1]]
            if self.shuffle is not None and split != TEST:
                labels = np.random.default_rng([self.shuffle, number]).permutation(labels)
            yield split, part, labels
            start += size


def prompts(data: Sequences, windows: np.ndarray, labels: np.ndarray) -> list[dict[str, str]]:
    """The examples as TALLRec's files have them."""
    starts = np.concatenate([[0], np.cumsum(data.counts)])
    names = dict(zip(data.items["id"], data.items["name"], strict=True))
    shown = [f'"{names[item]}"' for item in data.ratings["item"]]
    liked = data.ratings["liked"].to_list()
    rows = []
    for (user, place), label in zip(windows, labels, strict=True):
        target = int(starts[user] + place)
        before = range(target - HISTORY, target)
        preference, unpreference = (
            ", ".join(shown[row] for row in before if liked[row] == wanted) for wanted in (True, False)
        )
        rows.append(
            {
                "instruction": INSTRUCTION,
                "input": f"User Preference: {preference}\nUser Unpreference: {unpreference}\n"
                f"Whether the user will like the target movie {shown[target]}?",
                "output": "Yes." if label else "No.",
            }
        )
    return rows


def json_bytes(rows: Sequence[dict[str, Any]]) -> bytes:
    """The bytes of a file of the published form: indented by four, ASCII, no newline at the end."""
    return json.dumps(rows, indent=4).encode()


def write(writer: StoreWriter, data: Sequences, file: str) -> None:
    """Write the examples into the store."""
    fields = [Column("name", "text"), Column("genres", "categories"), Column("year", "category")]
    writer.items(data.items, fields, file=file)
    writer.users(pl.DataFrame({"id": data.users}), file=file)
    items = writer.item_rows("ratings", data.ratings["item"], file=file)
    liked = data.ratings["liked"].to_numpy().astype(np.uint8)
    marks = Ragged.from_lengths(liked, data.counts)
    clicks = Ragged.from_lengths(items, data.counts)
    writer.sequences(clicks, (marks, MARKS))
    for split, windows, labels in data.parts():
        user, place = windows[:, 0], windows[:, 1]
        rows = clicks.offsets[user] + place
        candidates = Ragged.from_lengths(items[rows], np.ones(len(rows), dtype=np.int64))
        writer.windows(split, user, place - HISTORY, place, candidates, labels)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = store_arguments(__doc__)
    parser.add_argument("--source", type=Path, required=True, metavar="FOLDER", help="MovieLens-100K")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="write train, valid and test.json here")
    parser.add_argument(
        "--shuffle_labels",
        type=int,
        metavar="SEED",
        help="a control: labels of train and dev in any order",
    )
    text_arguments(parser, encoding=None, quoting=False)
    args: argparse.Namespace = parser.parse_args(arguments)
    raw = read_movielens(Folder(args.source, args.encoding))
    data = Sequences(raw, above=3, shuffle=args.shuffle_labels)
    if args.json is not None:
        for split, windows, labels in data.parts():
            save_whole(args.json / JSON_NAMES[split], json_bytes(prompts(data, windows, labels)))
    settings = [] if args.shuffle_labels is None else ["shuffle_labels"]
    with open_writer(args, "tallrec", *settings) as writer:
        write(writer, data, raw.files[0])
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
