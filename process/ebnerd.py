"""EB-NeRD (news of Ekstra Bladet, RecSys Challenge 2024) to a data store.

    python process/ebnerd.py --source ebnerd_small --split time --out data/EB-NeRD-small

The folder holds articles.parquet and, in train/ and validation/, behaviors.parquet and history.parquet. The
impressions of train/ are the training split; those of validation/ are divided:
--split time: the earlier half is dev, the later one test; equal times stay together.
--split once: they are drawn half for dev and half for test, as process/mind.py does with its --dev; or
    --dev_impressions names those of dev.
--split given: all are dev, and with --test FOLDER the impressions of FOLDER/test/ are the test; where they
    have no article_ids_clicked, as those of the challenge, their labels are unknown.
The history of an impression is the user's in history.parquet of its folder, oldest first. --grow_history adds
the user's clicks in earlier impressions of that folder. All clicks in a history are earlier than their
impression.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from legorec.data.ragged import Ragged
from legorec.data.raw.command import log_arguments, open_writer, print_counts, run, store_arguments
from legorec.data.raw.dev_list import DevList, dev_arguments, read_dev_list
from legorec.data.raw.holdout import DOUBLED, split_times, stand_twice
from legorec.data.raw.lines import InputError, raw_file
from legorec.data.raw.table_files import scan_parquet
from legorec.data.raw.times import UNITS, times_of
from legorec.data.raw.user_tables import read_user_table, user_arguments
from legorec.data.writing.columns import Column, list_parts
from legorec.data.writing.writer import StoreWriter

ROWS = 1_000_000  # impressions in memory at a time; the large set has 12 million
NUMBER, USER, MOMENT = "impression_id", "user_id", "impression_time"
SHOWN, CLICKED = "article_ids_inview", "article_ids_clicked"
READ, READ_AT = "article_id_fixed", "impression_time_fixed"
ARTICLE = "article_id"
FIELDS = (
    *(Column(name, "text") for name in ("title", "subtitle", "body")),
    Column("category", "category", "category_str"),
    *(Column(name, "category") for name in ("sentiment_label", "premium")),
    *(Column(name, "categories") for name in ("subcategory", "topics")),
)


Parts = tuple[np.ndarray, tuple[str, ...]]  # the split of each impression, a place among the names


@dataclass(frozen=True)
class Clicks:
    """What users clicked, in order of user, then time (``moment``, in nanoseconds); ids are rows."""

    user: np.ndarray
    item: np.ndarray
    moment: np.ndarray

    @classmethod
    def sort(cls, user: np.ndarray, item: np.ndarray, moment: np.ndarray) -> Clicks:
        """Sort clicks; ties keep their order. Unknown ids (-1) are left out."""
        order = np.lexsort((moment, user))
        order = order[(user[order] >= 0) & (item[order] >= 0)]
        return cls(user[order], item[order], moment[order])

    def once(self, writer: StoreWriter, keep: bool) -> Clicks:
        """Without those that stand twice, which are counted either way."""
        twice = stand_twice(self.item, self.moment, self.user)
        (writer.kept if keep else writer.dropped)(f"clicks: {DOUBLED}", int(twice.sum()))
        return self if keep else Clicks(*(each[~twice] for each in (self.user, self.item, self.moment)))

    def lists(self, num_users: int) -> Ragged:
        """The clicks of every user."""
        return Ragged.from_lengths(self.item, np.bincount(self.user, minlength=num_users))

    def before(self, user: np.ndarray, moment: np.ndarray) -> np.ndarray:
        """How many clicks users had made before given times; a click at the same time does not count."""
        # Ranks in place of nanoseconds, which times the users would not fit into a number.
        ordered, rank = np.unique(np.concatenate([self.moment, moment]), return_inverse=True)
        width = len(ordered) + 1
        click = self.user * width + rank[: len(self.moment)]
        wanted = user * width + rank[len(self.moment) :]
        return np.searchsorted(click, wanted) - np.searchsorted(click, user * width)


@dataclass(frozen=True)
class Log:
    """A folder of impressions: user and time, in the order of its file. A user without a history is -1."""

    name: str
    folder: Path
    user: np.ndarray
    moment: np.ndarray  # nanoseconds
    twice: np.ndarray  # True for a row that equals an earlier one
    labelled: bool


def moments_of(column: pl.Series, path: Path) -> np.ndarray:
    """Times in nanoseconds, so that what was clicked within a second keeps its order."""
    if isinstance(column.dtype, pl.String):
        times = times_of(column.to_frame(), column.name, str(path))
        unit = "ns" if times.unit == "ns" else "us"
        values = pl.Series(column.name, times.values * (UNITS[unit] // times.per_second))
        column = values.cast(pl.Int64).cast(pl.Datetime(unit))  # type: ignore[arg-type]
    if not isinstance(column.dtype, pl.Datetime):
        raise InputError(f"{path}: column '{column.name}' must hold times, got {column.dtype}")
    if missing := column.null_count():
        raise InputError(f"{path}: column '{column.name}' must hold times; {missing:,} of them are missing")
    years = column.dt.year()
    if wrong := column.filter((years < 1678) | (years > 2261)).to_list():
        raise InputError(f"{path}: column '{column.name}' must hold times of our days, got {wrong[0]}")
    return column.cast(pl.Datetime("ns")).to_physical().to_numpy()


def read_articles(folders: Sequence[Path]) -> tuple[pl.DataFrame, int]:
    """The articles of all folders, the first of each, and how often one was repeated with other content."""
    names = [ARTICLE, *(column.source or column.name for column in FIELDS)]
    lists = [column.name for column in FIELDS if column.kind == "categories"]
    types = [pl.col(name).cast(pl.List(pl.String) if name in lists else pl.String) for name in names]
    articles = pl.concat(
        [scan_parquet(each / "articles.parquet", *names).select(types).collect() for each in folders]
    )
    first = articles.unique(ARTICLE, keep="first", maintain_order=True)
    return first, articles.unique().height - first.height


def read_users(folder: Path) -> pl.Series:
    """The users of a folder who have a history."""
    path = folder / "history.parquet"
    users = scan_parquet(path, USER).collect()[USER].cast(pl.String)
    if twice := len(users) - users.n_unique():
        example = users.filter(users.is_duplicated())[0]
        raise InputError(f"{path}: a user must have one row; {twice:,} rows are another, e.g. of '{example}'")
    return users


def read_log(writer: StoreWriter, name: str, folder: Path, users: pl.Series, labelled: bool) -> Log:
    """User and time of the impressions. A user without a history in the folder is unknown, and counted."""
    path, known = folder / "behaviors.parquet", read_users(folder)
    columns = (USER, MOMENT, SHOWN, *[CLICKED] * labelled)
    frame = scan_parquet(path, *columns).select(USER, MOMENT).collect()
    if not len(frame):
        raise InputError(f"{path}: it holds no impressions")
    ids = frame[USER].cast(pl.String)
    rows = rows_among(users, known)
    row = ids.replace_strict(known, rows, default=-1, return_dtype=pl.Int64).to_numpy()
    writer.missing.add(name, "user ids", row, ids, known, str(path))
    # Impressions, unlike clicks, need not differ in user and time; the challenge's own share an id.
    keys = [
        scan_parquet(path, NUMBER, *columns)
        .slice(start, ROWS)
        .select(pl.struct(NUMBER, *columns).hash())
        .collect()
        for start in range(0, len(frame), ROWS)
    ]
    twice = stand_twice(pl.concat(keys).to_series().to_numpy())
    return Log(name, folder, row, moments_of(frame[MOMENT], path), twice, labelled)


def rows_among(users: pl.Series, ids: pl.Series) -> pl.Series:
    """The rows of those ids that are among the users."""
    return ids.replace_strict(users, pl.int_range(len(users), eager=True), return_dtype=pl.Int64)


def read_history(writer: StoreWriter, log: Log, users: pl.Series) -> Clicks:
    """The clicks in history.parquet."""
    path = log.folder / "history.parquet"
    frame = scan_parquet(path, USER, READ, READ_AT).collect()
    item, lengths = list_parts(frame[READ])
    moments, others = list_parts(frame[READ_AT])
    if wrong := int((lengths != others).sum()):
        raise InputError(
            f"{path}: '{READ}' and '{READ_AT}' must be equally long; in {wrong:,} of {len(frame):,} rows "
            "they are not"
        )
    user = np.repeat(rows_among(users, frame[USER].cast(pl.String)).to_numpy(), lengths)
    rows = writer.item_rows(log.name, item, "item ids in histories", path)
    return Clicks.sort(user, rows, moments_of(moments, path))


def grown(writer: StoreWriter, log: Log, clicks: Clicks) -> Clicks:
    """The clicks of the histories, and those in the impressions of the folder."""
    frame = scan_parquet(log.folder / "behaviors.parquet", CLICKED).collect()
    item, lengths = list_parts(frame[CLICKED])
    path = log.folder / "behaviors.parquet"
    rows = writer.item_rows(log.name, item, "item ids in grown histories", path)
    new = (np.repeat(log.user, lengths), rows, np.repeat(log.moment, lengths))
    return Clicks.sort(*map(np.concatenate, zip((clicks.user, clicks.item, clicks.moment), new, strict=True)))


def write_log(
    writer: StoreWriter, log: Log, users: pl.Series, parts: Parts, args: argparse.Namespace
) -> None:
    """Write the impressions of a folder."""
    part, names = parts
    writer.progress.say(f"{log.name}: history.parquet")
    clicks = read_history(writer, log, users).once(writer, args.keep_doubled)
    (writer.kept if args.keep_doubled else writer.dropped)("impressions that stand twice", log.twice.sum())
    part = part if args.keep_doubled else np.where(log.twice, -1, part)
    known = log.user >= 0
    whole = np.bincount(clicks.user, minlength=len(users))[log.user[known]]
    later = whole - clicks.before(log.user[known], log.moment[known])
    writer.dropped(f"clicks of a history that are not before the impression ({log.name})", later.sum())
    if args.grow_history and log.labelled:
        clicks = grown(writer, log, clicks).once(writer, args.keep_doubled)
    stop = clicks.before(np.maximum(log.user, 0), log.moment)
    writer.sequences(clicks.lists(len(users)))
    starts = range(0, len(log.user), ROWS)
    for start in writer.progress.track(starts, f"{log.name}: behaviors.parquet"):
        ids, candidates, labels = read_candidates(writer, log, start)
        here = slice(start, start + len(candidates))
        offered = candidates.values >= 0
        for number, split in enumerate(names):
            rows = np.flatnonzero(part[here] == number)
            if not len(rows):
                continue
            marks = Ragged(offered, candidates.offsets).take(rows).values
            chosen = candidates.take(rows).keep(marks)
            own = None if labels is None else Ragged(labels, candidates.offsets).take(rows).values[marks]
            user, second = log.user[here][rows], log.moment[here][rows] // 10**9
            first = np.zeros_like(user)
            writer.windows(split, user, first, stop[here][rows], chosen, own, second, ids[rows])


def read_candidates(writer: StoreWriter, log: Log, start: int) -> tuple[pl.Series, Ragged, np.ndarray | None]:
    """Raw ids of some impressions, their candidates, -1 where unknown, and labels where the folder has
    clicks."""
    columns = (NUMBER, SHOWN, *[CLICKED] * log.labelled)
    frame = scan_parquet(log.folder / "behaviors.parquet", *columns).slice(start, ROWS).collect()
    flat, lengths = list_parts(frame[SHOWN])
    path = log.folder / "behaviors.parquet"
    shown = Ragged.from_lengths(writer.item_rows(log.name, flat, "item ids in candidates", path), lengths)
    if not log.labelled:
        return frame[NUMBER], shown, None
    flat, lengths = list_parts(frame[CLICKED])
    item = writer.item_rows(log.name, flat, "item ids in clicks", path)
    width = writer.num_items + 1
    clicked = (np.repeat(np.arange(len(frame)), lengths) * width + item)[item >= 0]
    offered = shown.rows * width + np.where(shown.values < 0, width - 1, shown.values)
    unseen = int((~np.isin(clicked, offered)).sum())
    writer.dropped(f"clicks on articles that were not in view ({log.name})", unseen)
    return frame[NUMBER], shown, np.isin(offered, clicked).astype(np.uint8)


def halves(writer: StoreWriter, log: Log, args: argparse.Namespace, dev: DevList | None) -> Parts:
    """The splits of validation."""
    if args.split == "given":
        return np.zeros(len(log.user), np.int64), ("dev",)
    if args.split == "time":
        return split_times(log.moment, (0.0, 0.5, 0.5)) - 1, ("dev", "test")
    if dev is not None:
        ids = scan_parquet(log.folder / "behaviors.parquet", NUMBER).collect()[NUMBER]
        return dev.part(writer, ids, str(log.folder / "behaviors.parquet")), ("dev", "test")
    order = np.random.default_rng(args.seed).permutation(len(log.user))
    part = np.empty(len(order), dtype=np.int64)
    part[order] = np.arange(len(order)) >= len(order) // 2
    return part, ("dev", "test")


def write(writer: StoreWriter, args: argparse.Namespace, dev: DevList | None) -> None:
    """Write everything into the store."""
    folders = {name: args.source / name for name in ("train", "validation")}
    sources = [args.source]
    if args.test:
        folders["test"] = args.test / "test"
        sources += [args.test] if (args.test / "articles.parquet").exists() else []
    writer.progress.say("reading articles.parquet")
    articles, changed = read_articles(sources)
    writer.dropped("articles that came again with other content (the first is kept)", changed)
    writer.items(articles, FIELDS, ARTICLE, args.source / "articles.parquet")
    users = pl.concat([read_users(folder) for folder in folders.values()]).unique(maintain_order=True)
    writer.users(pl.DataFrame({"id": users}))
    for name, folder in folders.items():
        # Only the challenge's own test may come without clicks.
        path = folder / "behaviors.parquet"
        labelled = name != "test" or CLICKED in pl.read_parquet_schema(raw_file(path).label)
        log = read_log(writer, name, folder, users, labelled)
        whole = np.zeros(len(log.user), np.int64), (name,)
        parts = halves(writer, log, args, dev) if name == "validation" else whole
        write_log(writer, log, users, parts, args)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = store_arguments(__doc__)
    parser.add_argument("--source", type=Path, metavar="FOLDER", required=True, help="a bundle, unpacked")
    parser.add_argument("--test", type=Path, metavar="FOLDER", help="the test set of the challenge, unpacked")
    parser.add_argument("--split", choices=("time", "once", "given"), default="time", help="of validation")
    parser.add_argument("--grow_history", action="store_true", help="add clicks of the folder made before")
    dev_arguments(parser, "validation")
    user_arguments(parser)
    log_arguments(parser)
    args = parser.parse_args(arguments)
    if args.test and args.split != "given":
        raise InputError(f"--split {args.split} makes dev and test of validation; leave --test out")
    dev, users = read_dev_list(args), read_user_table(args)
    settings = ["split", "grow_history", *["dev_impressions"] * (dev is not None)]
    with open_writer(args, "ebnerd", *settings, users=users) as writer:
        write(writer, args, dev)
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
