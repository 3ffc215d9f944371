"""Several data sets as one store: a field ``domain`` of the items, and splits of all and of each.

    python process/join.py --store movie=data/TALLRec-movie --store game=data/Steam --shots 16 64 256 \\
        --out data/TALLRec-movie-game

Ids are prefixed with the domain, ``movie:50``, so that items and users of different data sets never meet. A
split of a store becomes part of the split of that name, and ``train-movie`` holds the domain's own. With
``--shots K``, ``train-K`` holds K impressions of each domain's train, drawn by the seed, those of a smaller K
among those of a larger one, and ``train-K-movie`` the domain's own. Texts are tokenized anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from legorec.data.layout import check_name
from legorec.data.ragged import Ragged
from legorec.data.raw.command import open_writer, print_counts, run, store_arguments
from legorec.data.raw.lines import InputError
from legorec.data.store import Store
from legorec.data.table import Table
from legorec.data.writing.columns import Column
from legorec.data.writing.rewritten import Content, owners
from legorec.data.writing.writer import StoreWriter

DOMAIN = "domain"
TRAIN = "train"


@dataclass(frozen=True)
class Domain:
    """One of the stores, and where its rows begin in the joined one."""

    name: str
    store: Store
    first_item: int
    first_user: int

    @cached_property
    def stretches(self) -> tuple[np.ndarray, np.ndarray]:
        """(U,) start and stop of each user's clicks in the store's flat array, which is in order of users."""
        spans, owner = np.asarray(self.store.spans), owners(self.store)
        held = spans[:, 1] > spans[:, 0]
        start = np.full(len(self.store.users), len(self.store.histories), dtype=np.int64)
        stop = np.zeros(len(start), dtype=np.int64)
        np.minimum.at(start, owner[held], spans[held, 0])
        np.maximum.at(stop, owner[held], spans[held, 1])
        return np.minimum(start, stop), stop

    def beside(self, values: np.ndarray) -> Ragged:
        """What stands beside the clicks, one row for each user."""
        start, stop = self.stretches
        flat = Ragged(np.asarray(values), np.array([0, len(values)]))
        return flat.slices(np.zeros(len(start), dtype=np.int64), start, stop)

    def add(
        self, writer: StoreWriter, split: str, names: Sequence[str], rows: np.ndarray | None = None
    ) -> None:
        """Give a writer some impressions of a split, or all, as parts of the splits ``names``."""
        table = self.store.interactions(split)
        if not table.labelled:
            raise InputError(f"{self.store.path}: the labels of '{split}' are not known; leave it out")
        rows = np.arange(len(table)) if rows is None else rows
        user, span = np.asarray(table.user)[rows], np.asarray(self.store.spans)[np.asarray(table.span)[rows]]
        start = np.where(span[:, 1] > span[:, 0], self.stretches[0][user], span[:, 0])
        candidates = table.candidates.take(rows)
        labels = Ragged(np.asarray(table.labels), table.candidates.offsets).take(rows).values
        time = None if table.time is None else np.asarray(table.time)[rows]
        shown = Ragged(candidates.values + self.first_item, candidates.offsets)
        for name in names:
            writer.windows(
                name, user + self.first_user, span[:, 0] - start, span[:, 1] - start, shown, labels, time
            )


def domains_of(stores: Mapping[str, Path]) -> list[Domain]:
    """The stores, in order."""
    found: list[Domain] = []
    items = users = 0
    for name, path in stores.items():
        store = Store.open(path)
        found.append(Domain(name, store, items, users))
        items, users = items + len(store.items), users + len(store.users)
    return found


def table_of(domains: Sequence[Domain], users: bool) -> tuple[pl.DataFrame, list[Column]]:
    """The items or the users of all, with every field that one of them has.

    Raises:
        InputError: a field is of different kinds.
    """
    frames: list[pl.DataFrame] = []
    columns: dict[str, Column] = {}
    for each in domains:
        table: Table = each.store.users if users else each.store.items
        content = Content.of(each.store, table)
        for column in content.columns:
            known = columns.setdefault(column.name, replace(column, tokens=None))
            if known.kind != column.kind:
                raise InputError(
                    f"{each.store.path}: the field '{column.name}' is a {column.kind}, and a {known.kind} in "
                    "a store before it; rename one of them"
                )
        named = pl.format("{}:{}", pl.lit(each.name), pl.col("id"))
        frames.append(content.frame.with_columns(id=named, **{DOMAIN: pl.lit(each.name)}))
    return pl.concat(frames, how="diagonal_relaxed"), list(columns.values())


def marks_of(domains: Sequence[Domain]) -> tuple[Ragged, list[str]] | None:
    """The marks of all clicks, one row for each user; None where no store has any.

    Raises:
        InputError: some have none.
    """
    bare = [each.store.path for each in domains if each.store.marks is None]
    if len(bare) == len(domains):
        return None
    if bare:
        raise InputError(
            f"{bare[0]}: its clicks have no marks, those of others have; join stores of one kind"
        )
    names = list(dict.fromkeys(name for each in domains for name in each.store.mark_names))
    parts = []
    for each in domains:
        place = np.array([names.index(name) for name in each.store.mark_names], dtype=np.uint8)
        parts.append(each.beside(place[np.asarray(each.store.marks)]))
    return Ragged.concatenate(parts, np.uint8), names


def write(
    writer: StoreWriter, domains: Sequence[Domain], shots: Sequence[int], seed: int, file: object
) -> None:
    """Everything into the store."""
    items, columns = table_of(domains, users=False)
    writer.items(
        items, [*(each for each in columns if each.name != DOMAIN), Column(DOMAIN, "category")], file=file
    )
    users, columns = table_of(domains, users=True)
    writer.users(users, columns, file=file)
    clicks = [
        Ragged(rows.values + each.first_item, rows.offsets)
        for each in domains
        for rows in [each.beside(each.store.histories)]
    ]
    writer.sequences(Ragged.concatenate(clicks), marks_of(domains))
    for number, each in enumerate(domains):
        for split in each.store.splits:
            each.add(writer, split, [split, f"{split}-{each.name}"])
        if not shots:
            continue
        count = len(each.store.interactions(TRAIN))
        order = np.random.default_rng([seed, number]).permutation(count)
        for size in shots:
            if size > count:
                raise InputError(f"{each.store.path}: --shots {size} of its {count:,} impressions of train")
            names = [f"{TRAIN}-{size}", f"{TRAIN}-{size}-{each.name}"]
            each.add(writer, TRAIN, names, np.sort(order[:size]))


def named_store(text: str) -> tuple[str, Path]:
    """The argument ``NAME=FOLDER``."""
    name, given, folder = text.partition("=")
    if not given or not name or not folder:
        raise argparse.ArgumentTypeError(
            f"a domain and its store, as in movie=data/TALLRec-movie, got '{text}'"
        )
    try:
        return check_name(name, "domain"), Path(folder)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = store_arguments(__doc__)
    parser.add_argument(
        "--store",
        type=named_store,
        action="append",
        required=True,
        metavar="NAME=FOLDER",
        help="give two at least",
    )
    parser.add_argument("--shots", type=int, nargs="+", default=[], metavar="K", help="of each domain")
    args = parser.parse_args(arguments)
    stores = dict(args.store)
    if len(stores) < 2 or len(stores) < len(args.store):
        raise InputError("--store must be given twice at least, each with a domain of its own")
    if any(size < 1 for size in args.shots):
        raise InputError(f"--shots must be at least 1, got {min(args.shots)}")
    domains = domains_of(stores)
    with open_writer(args, "join", "shots") as writer:
        write(writer, domains, args.shots, args.seed, args.store[0][1])
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
