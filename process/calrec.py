"""CALRec's purchases as item texts to a data store: several categories, each with a corpus of its own.

    python process/calrec.py --source amazon-2023 --drop_repeats --out data/CALRec

The folder holds ``NAME.jsonl``, a line for each user with its ``history`` (texts, oldest first) and its
``target``, and ``NAME.items.txt``, a line for each item of the category; --categories takes some of them.
Items and users have a field ``domain``, the NAME, by which ``data.filters`` choose one category.
--drop_repeats keeps one of several consecutive purchases of an item (Li et al., 2024; arXiv 2405.02429).
--split last: a user's target is test, the purchase before it dev, every earlier one train.
--split users: only targets are held out; those of some users are train, of others dev or test (--shares).
Dev and test place a target among --num_negatives items of its category that the user never bought.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from legorec.data.raw.command import open_writer, print_counts, run, shares, store_arguments
from legorec.data.raw.holdout import (
    SPLITS,
    Events,
    draw_unmet,
    last_left_out,
    liked_among_unmet,
    without_repeats,
)
from legorec.data.raw.json_lines import records
from legorec.data.raw.lines import InputError
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter

PURCHASES, CORPUS = ".jsonl", ".items.txt"
TEXT = re.compile(r"Title: (.*?)[.,] Category: (.*?)[.,] Brand: (.*?)[.,] Price: (.*?)\.?", re.DOTALL)
UNKNOWN = "Unknown"
FIELDS = (
    Column("text", "text"),
    Column("title", "text"),
    *(Column(name, "category") for name in ("category", "brand", "domain")),
)


class Category(NamedTuple):
    """One category: its corpus, and the purchases of each user, the target last."""

    name: str
    items: list[str]
    users: list[list[str]]


def read_category(folder: Path, name: str) -> Category:
    """The two files of a category.

    Raises:
        InputError: one is missing, an item stands twice, or a line is no user.
    """
    corpus, purchases = (folder / f"{name}{ending}" for ending in (CORPUS, PURCHASES))
    if not corpus.is_file():
        raise InputError(f"{purchases} is there, but its items are not: {corpus}")
    items = [line for line in corpus.read_text("utf-8").split("\n") if line.strip()]
    if len(set(items)) < len(items):
        twice = pl.Series(items).value_counts(sort=True).row(0)[0]
        raise InputError(f"{corpus}: an item stands there twice: {twice!r}")
    rule = "it must be an object with a `target` (a text) and a `history` (a list of texts)"
    rows = records(purchases, _user, rule)
    return Category(name, items, [[*row["history"], row["target"]] for row in rows])


def _user(line: str) -> dict[str, Any] | None:
    """The object of a line, if it is a user."""
    try:
        row = json.loads(line)
        texts = [*row["history"], row["target"]]
    except (ValueError, RecursionError, TypeError, KeyError):
        return None
    fits = isinstance(row["history"], list) and all(isinstance(text, str) for text in texts)
    return row if fits else None


def named(folder: Path, wanted: Sequence[str] | None) -> list[str]:
    """The categories to read, in order of their names.

    Raises:
        InputError: there is none, or not the wanted one.
    """
    there = sorted(path.name.removesuffix(PURCHASES) for path in folder.glob(f"*{PURCHASES}"))
    if not there:
        raise InputError(f"{folder}: there is no NAME{PURCHASES} in it")
    if unknown := sorted(set(wanted or ()) - set(there)):
        raise InputError(f"{folder}: there is no category '{unknown[0]}'; there are {', '.join(there)}")
    return sorted(wanted) if wanted else there


def item_frame(categories: Sequence[Category]) -> pl.DataFrame:
    """The items of every category in turn; a text of another form is all title."""
    rows = []
    for category in categories:
        for place, text in enumerate(category.items):
            found = TEXT.fullmatch(text)
            title, kind, brand = found.groups()[:3] if found else (text, "", "")
            known = ["" if each == UNKNOWN else each for each in (title, kind, brand)]
            rows.append([f"{category.name}-{place}", text, *known, category.name])
    names = ["id", *(column.name for column in FIELDS)]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def events_of(categories: Sequence[Category], writer: StoreWriter) -> Events:
    """All purchases in order, users category by category."""
    ids = []
    for category in categories:
        known = {text: f"{category.name}-{place}" for place, text in enumerate(category.items)}
        ids += [known.get(text, text) for user in category.users for text in user]
    item = writer.item_rows("purchases", pl.Series(ids, dtype=pl.String))
    counts = [len(user) for category in categories for user in category.users]
    user = np.repeat(np.arange(len(counts)), counts)
    return Events.sort(user, item, np.ones(len(item), bool), None, len(counts), writer.num_items)


def split_users(events: Events, parts: tuple[float, ...], seed: int) -> np.ndarray:
    """The split of each purchase: -1 but for the last of a user that has one before it, whose part is drawn.

    Raises:
        InputError: a split that should have a share gets nothing.
    """
    left = events.likes.lengths[events.user] - events.likes_before
    last = np.flatnonzero((left == 1) & (events.likes_before > 0))
    order = np.random.default_rng([seed, len(SPLITS)]).permutation(len(last))
    stops = np.round(np.cumsum(parts) * len(last)).astype(np.int64)
    part = np.full(len(events.user), -1)
    for number, rows in enumerate(np.split(last[order], stops[:2])):
        if parts[number] > 0 and not len(rows):
            raise InputError(f"--shares leave '{SPLITS[number]}' empty: too few users have two purchases")
        part[rows] = number
    return part


def within(categories: Sequence[Category], events: Events, users: np.ndarray, count: int, rng: Any) -> Any:
    """Items (R, count) of each user's own category that it never bought; users are in ascending order."""
    found, first_user, first_item = [], 0, 0
    for category in categories:
        num_users, num_items = len(category.users), len(category.items)
        mine = (events.user >= first_user) & (events.user < first_user + num_users)
        own = Events(
            events.user[mine] - first_user,
            events.item[mine] - first_item,
            events.liked[mine],
            None,
            events.order[mine],
            num_users,
            num_items,
        )
        of = users[(users >= first_user) & (users < first_user + num_users)] - first_user
        found.append(draw_unmet(own, of, count, rng) + first_item)
        first_user, first_item = first_user + num_users, first_item + num_items
    return np.concatenate(found)


def write(writer: StoreWriter, args: argparse.Namespace) -> None:
    """Write everything into the store."""
    categories = [read_category(args.source, name) for name in named(args.source, args.categories)]
    writer.items(item_frame(categories), FIELDS, file=args.source)
    users = [(f"{each.name}-{place}", each.name) for each in categories for place in range(len(each.users))]
    frame = pl.DataFrame(users, schema={"id": pl.String, "domain": pl.String}, orient="row")
    writer.users(frame, [Column("domain", "category")], file=args.source)
    events = events_of(categories, writer)
    if args.drop_repeats:
        once = without_repeats(events)
        writer.dropped("purchases of the same item again (--drop_repeats)", len(events.user) - len(once.user))
        events = once
    part = last_left_out(events) if args.split == "last" else split_users(events, args.shares, args.seed)

    def draw(users: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        return within(categories, events, users, count, rng)

    liked_among_unmet(writer, events, part, args.num_negatives, args.seed, draw)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = store_arguments(__doc__)
    parser.add_argument(
        "--source", type=Path, required=True, metavar="FOLDER", help="NAME.jsonl and the rest"
    )
    parser.add_argument("--categories", nargs="+", metavar="NAME", help="these alone; without it all")
    parser.add_argument("--drop_repeats", action="store_true", help="leave out an item right after itself")
    parser.add_argument("--split", choices=("last", "users"), default="last")
    parser.add_argument("--shares", type=shares, default="0.8,0.1,0.1", help="of users in train, dev, test")
    parser.add_argument("--num_negatives", type=int, default=20, help="of each dev and test impression")
    args = parser.parse_args(arguments)
    settings = ["split", "categories", "drop_repeats", "num_negatives", *["shares"] * (args.split == "users")]
    with open_writer(args, "calrec", *settings) as writer:
        write(writer, args)
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
