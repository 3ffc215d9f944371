"""Depots of UniTok to a data store, and a store to depots.

    python process/unitok.py import --items DEPOT --users DEPOT --train DEPOT --dev DEPOT --test DEPOT \\
        --out data/X
    python process/unitok.py export --store data/X --out depots/X

Either job has --help. Depots of version 3 (what ONCE released) and 4 (Legommenders, RecBench) are read;
export writes version 4. Depots hold pickles: they are read as plain data, and anything else is refused.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from legorec.data.ragged import Ragged
from legorec.data.raw.command import Arguments, print_counts, run
from legorec.data.raw.lines import InputError
from legorec.data.raw.unitok_depot import Depot, list_series
from legorec.data.raw.unitok_export import PERSON, export
from legorec.data.raw.unitok_fields import KINDS, choose_fields, table_of, tokenizers_of
from legorec.data.store import Store, rows_of
from legorec.data.writing.progress import Progress
from legorec.data.writing.writer import StoreWriter

SPLITS = ("train", "dev", "test")
CHUNK = 50_000  # impressions; each holds the names of its whole history while it is written


@dataclass(frozen=True)
class People:
    """The rows of the users: what interactions call them, who they are, and their histories."""

    keys: pl.Enum
    persons: pl.Series
    histories: Ragged  # ids of ``words``
    words: pl.Series

    @classmethod
    def read(cls, depot: Depot, history: str, person: str | None) -> People:
        """Those of a depot."""
        if not depot.column(history).holds_lists:
            raise InputError(
                f"{depot.path}: '{history}' must hold lists, the items clicked; --history names it"
            )
        keys = depot.values(depot.key)
        if keys.is_duplicated().any():
            twice = keys.filter(keys.is_duplicated())[0]
            raise InputError(f"{depot.path}: every user must have one row, '{twice}' has several")
        persons = keys if person is None else depot.values(person)
        words = depot.words(depot.column(history).vocabulary)
        return cls(pl.Enum(keys), persons, depot.rows(history), words)


def column_in(depot: Depot, wanted: str | None, usual: str) -> str | None:
    """A column that was asked for, or the usual one where it is there."""
    if wanted is not None:
        return depot.column(wanted).name
    return usual if usual in depot.columns else None


def write_users(writer: StoreWriter, args: argparse.Namespace, depot: Depot) -> People:
    """The users with their fields, and what their impressions need."""
    history, person = args.history or "history", column_in(depot, args.person, PERSON)
    negatives = column_in(depot, args.neg, "neg")
    people = People.read(depot, history, person)
    others = [name for name in (depot.key, history, person, negatives) if name]
    named = {kind: getattr(args, f"user_{kind}") or [] for kind in KINDS[1:]}
    frame, fields = table_of(depot, choose_fields(depot, others, named, with_texts=False), {}, False)
    frame = frame.with_columns(id=people.persons).unique("id", keep="first", maintain_order=True)
    writer.users(frame, fields, file=depot.path)
    if negatives:
        # They are a user's, from any of its impressions, those of dev and test perhaps among them.
        count = len(depot.rows(negatives).values)
        writer.dropped(f"ids in '{negatives}' of the users, which belong to no impression", count)
    return people


def write_split(
    writer: StoreWriter,
    args: argparse.Namespace,
    depot: Depot,
    split: str,
    people: People,
    keys: tuple[str, str],
) -> np.ndarray:
    """The rows of one depot of interactions; those of one user and group are an impression, in order.

    Returns: the rows of the users that have one.
    """
    wanted = zip((args.item, args.user), keys, strict=True)
    item, user = (single(depot, name or key) for name, key in wanted)
    label, group = column_in(depot, args.label, "click"), column_in(depot, args.group, "imp") or user
    groups = depot.rows(single(depot, group)).values.astype(np.int64)
    users = depot.rows(user).values.astype(np.int64)
    pair = users * (groups.max(initial=0) + 1) + groups
    _, first, inverse, lengths = np.unique(pair, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first[inverse], kind="stable")
    lengths, first = lengths[np.argsort(first)], np.sort(first)
    raw = depot.values(user).gather(first)
    row = rows_of(raw, people.keys)
    known, row = row >= 0, np.maximum(row, 0)
    # A person may be known where this row of theirs is not: no other history may be taken for it.
    unknown = raw + " (no row of the users)"
    frame = pl.DataFrame(
        {
            "user": people.persons.gather(row).zip_with(pl.Series(known), unknown),
            "candidates": lists(depot.values(item).gather(order), lengths),
        }
    )
    if label:
        frame = frame.with_columns(labels=lists(labels_of(depot, label).gather(order), lengths))
    if group != user:
        frame = frame.with_columns(id=depot.values(group).gather(first))
    for start in range(0, max(1, len(frame)), CHUNK):
        part = slice(start, start + CHUNK)
        histories = people.histories.take(row[part])
        histories = histories.keep(np.repeat(known[part], histories.lengths))
        history = list_series(histories, people.words)
        writer.impressions(split, frame[part].with_columns(history=history), depot.path)
    return row[known]


def single(depot: Depot, name: str) -> str:
    """The name of a column that holds one value for each row."""
    if depot.column(name).holds_lists:
        raise InputError(f"{depot.path}: '{name}' must hold one value for each row, it holds lists")
    return name


def labels_of(depot: Depot, name: str) -> pl.Series:
    """0 and 1, by what the vocabulary says: an id is not always its own word."""
    words = depot.values(single(depot, name))
    if not words.is_in(["0", "1"]).all():
        raise InputError(
            f"{depot.path}: the labels in '{name}' must be 0 and 1; --label names another column"
        )
    return words.cast(pl.UInt8)


def lists(values: pl.Series, lengths: np.ndarray) -> pl.Series:
    """Values in lists of these lengths, all of them above 0."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    frame = pl.DataFrame({"row": row, "value": values})
    return frame.group_by("row", maintain_order=True).agg("value")["value"]


def read(args: argparse.Namespace) -> None:
    """Depots to a store."""
    progress = Progress.on_stderr()
    items, users = Depot.open(args.items), Depot.open(args.users)
    splits = {split: Depot.open(getattr(args, split)) for split in SPLITS if getattr(args, split)}
    if not splits:
        raise InputError("give at least one of --train, --dev and --test")
    choices = choose_fields(items, [items.key], {kind: getattr(args, kind) or [] for kind in KINDS})
    with TemporaryDirectory() as folder:
        tokenizers, where = tokenizers_of(items, choices, args.tokenizer or [], Path(folder))
        made_with = {"processor": "unitok", "unitok": items.version}
        with StoreWriter(args.out, made_with, where, args.max_missing, args.overwrite, progress) as writer:
            writer.items(*table_of(items, choices, tokenizers, own_vocabularies=True), file=items.path)
            people = write_users(writer, args, users)
            keys = (items.key, users.key)
            seen = [write_split(writer, args, depot, split, people, keys) for split, depot in splits.items()]
            unseen = np.delete(people.histories.lengths, np.concatenate(seen))
            writer.dropped("histories of users without an impression", int((unseen > 0).sum()))
    print_counts(args.out)


def arguments_of_import() -> Arguments:
    """The command line of ``import``."""
    parser = Arguments(__doc__, prog="unitok.py import")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the store to write")
    for name in ("items", "users"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DEPOT")
    for name in SPLITS:
        parser.add_argument(
            f"--{name}", type=Path, metavar="DEPOT", help="interactions, a row for each item shown"
        )
    columns = {
        "item": "the item shown, named as the key of --items if not here",
        "user": "the user, named as the key of --users if not here",
        "label": "1 for a click and 0 for none; click, where it is there",
        "group": "the impression; imp, where it is there, else the user is one",
        "history": "of the users: the items clicked, oldest first; history",
        "person": f"of the users: who a row is, where one may have several; {PERSON}, where it is there",
        "neg": "of the users: lists of negatives, which are counted and not used; neg, where it is there",
    }
    for name, text in columns.items():
        parser.add_argument(f"--{name}", metavar="COLUMN", help=text)
    for prefix, what in (("", "items"), ("user_", "users")):
        for kind in KINDS if not prefix else KINDS[1:]:
            text = f"COLUMN or NAME=COLUMN of the {what}; others become what they look like"
            parser.add_argument(f"--{prefix}{kind}", action="append", metavar="FIELD", help=text)
    parser.add_argument(
        "--tokenizer",
        action="append",
        metavar="NAME=FOLDER",
        help="the Hugging Face tokenizer that made the vocabulary NAME, for language models and new items",
    )
    parser.add_argument(
        "--max_missing", type=float, default=0.01, help="share of ids that may be in no table"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a store that is there")
    return parser


def write(args: argparse.Namespace) -> None:
    """A store to depots."""
    if args.max_history is not None and args.max_history < 1:
        raise InputError(f"`max_history` must be at least 1, got {args.max_history}")
    export(Store.open(args.store), args.out, args.max_history, Progress.on_stderr())
    print(f"{args.out}: {', '.join(sorted(path.name for path in args.out.iterdir()))}")


def arguments_of_export() -> Arguments:
    """The command line of ``export``."""
    parser = Arguments(__doc__, prog="unitok.py export")
    parser.add_argument("--store", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the depots will be")
    parser.add_argument(
        "--max_history", type=int, help="the most recent clicks alone; Legommenders' own cut keeps the oldest"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = Arguments(__doc__)
    parser.add_argument("job", choices=("import", "export"))
    if parser.parse_args(words[:1]).job == "import":
        read(arguments_of_import().parse_args(words[1:]))
    else:
        write(arguments_of_export().parse_args(words[1:]))


if __name__ == "__main__":
    run(main)
