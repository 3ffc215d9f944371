"""MIND, also in the languages of xMIND, to a data store.

    python process/mind.py --train MINDsmall_train --dev MINDsmall_dev --split once --out data/MIND-small

Each folder or zip holds news.tsv and behaviors.tsv. Every impression keeps its own history. xMIND's news.tsv
(nid, title, abstract) gives its texts to MIND's own news with --titles. It may also lie in their place; then
there are no categories.
--split given: the folders are train, dev and (with --test) test.
--split once: the impressions of --dev are drawn half for dev and half for test, as in ONCE; or
    --dev_impressions names those of dev.
--split time: only --train is given; its impressions are divided by time, with --shares.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from legorec.data.raw.command import (
    log_arguments,
    open_writer,
    print_counts,
    run,
    shares,
    store_arguments,
    text_arguments,
)
from legorec.data.raw.dev_list import DevList, dev_arguments, read_dev_list
from legorec.data.raw.holdout import SPLITS, split_times
from legorec.data.raw.iso_times import EXAMPLE, clock_seconds
from legorec.data.raw.lines import InputError, RawFile, find_file, raw_file
from legorec.data.raw.quoting import is_quoted, quoted_rows
from legorec.data.raw.readers import LINE, BadLines, as_one, first_line, need_columns, read_rows
from legorec.data.raw.table_files import read_delimited
from legorec.data.raw.user_tables import read_user_table, user_arguments
from legorec.data.store import rows_of
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter

NEWS = ("id", "category", "subcategory", "title", "abstract")
BEHAVIORS = ("id", "user", "time", "history", "shown")
HEADERS = ("nid", "news_id")
DOUBLED = "impressions that stand twice (the same line)"
CLOCK = "%m/%d/%Y %I:%M:%S %p"
FIELDS = (
    Column("title", "text"),
    Column("abstract", "text"),
    Column("category", "category"),
    Column("subcategory", "category"),
)


def read_news(args: argparse.Namespace, writer: StoreWriter) -> tuple[pl.DataFrame, str]:
    """The news of all folders, the first of each, with the texts of --titles; and the label of their file.

    Those that came again with other content are counted.
    """
    sources = [source for source in (args.train, args.dev, args.test) if source is not None]
    files = [find_file(source, "news.tsv") for source in sources]
    news = pl.concat([read_file(file, args) for file in files], how="diagonal")
    first = news.unique("id", keep="first", maintain_order=True)
    changed = news.unique().height - first.height
    writer.dropped("news that came again with other content (the first is kept)", changed)
    return translated(first, args, writer) if args.titles else first, files[0].label


def read_file(file: RawFile, args: argparse.Namespace) -> pl.DataFrame:
    """One news.tsv: MIND's, without a header or quotes, or xMIND's, with both."""
    first = first_line(file, args.encoding).split("\t")
    if first[0].strip('"') in HEADERS:
        news = read_delimited(file, "\t", True, args.encoding, args.quoting, doubtful=True)
        news = news.rename({first[0].strip('"'): "id"})
        need_columns(news, ["title"], file.label)
    else:
        # Published files hold quotes as text; some copies were written by programs that quote cells.
        quoted = is_quoted(file, "\t", args.encoding, args.quoting, doubtful=False)
        read = quoted_rows if quoted else read_rows
        news = as_one(read(file, NEWS, "\t", args.encoding, more_columns=True), NEWS)
    bad = BadLines(file.label)
    bad.add(news.filter(pl.col("id").str.contains(r"\s"))[LINE], "a news id may not hold blanks")
    bad.raise_any()
    return news.select(name for name in NEWS if name in news.columns)


def translated(news: pl.DataFrame, args: argparse.Namespace, writer: StoreWriter) -> pl.DataFrame:
    """The news with the texts of --titles; where these lack one, it has none, and is counted."""
    files = [raw_file(path) for path in args.titles]
    texts = pl.concat([read_file(file, args) for file in files], how="diagonal")
    texts = texts.unique("id", keep="first", maintain_order=True)
    rows = rows_of(news["id"], pl.Enum(texts["id"]))
    writer.missing.add("news", "news ids", rows, news["id"], texts["id"], files[0].label)
    names = [name for name in ("title", "abstract") if name in texts.columns]
    return news.drop("title", "abstract", strict=False).join(
        texts.select("id", *names), on="id", how="left", maintain_order="left"
    )


def read_behaviors(file: RawFile, encoding: str) -> Iterator[pl.DataFrame]:
    """Impressions block by block: id, user, time, history, candidates and, where the file has them,
    labels; and ``key``, a hash of the line."""
    bad = BadLines(file.label)
    labelled: bool | None = None
    for frame in read_rows(file, BEHAVIORS, encoding=encoding):
        time = clock_seconds(frame["time"], CLOCK)
        timeless = frame.filter(time.is_null())
        rule = f"the third column must be a time as 11/13/2019 8:36:57 AM or {EXAMPLE}"
        bad.add(timeless[LINE], f"{rule}, got {next(iter(timeless['time']), None)!r}")
        shown = frame["shown"].str.strip_chars().str.split(" ")
        flat = pl.DataFrame({LINE: frame[LINE], "shown": shown}).explode("shown")
        marked = flat["shown"].str.contains(r".-[01]$")
        if labelled is None and len(flat):
            labelled = bool(marked.any())
        if labelled:
            bad.add(
                flat.filter(~marked)[LINE].unique(maintain_order=True), "a candidate must end in -0 or -1"
            )
        else:
            wrong = flat.filter((flat["shown"] == "") | marked)[LINE].unique(maintain_order=True)
            bad.add(wrong, "all candidates or none must end in -0 or -1")
        if bad.count:
            continue
        history = frame["history"].str.strip_chars().str.split(" ")
        columns = {
            "key": frame.select(BEHAVIORS).hash_rows(),
            "id": frame["id"],
            "user": frame["user"],
            "time": time,
            "history": history.list.eval(pl.element().filter(pl.element() != "")),
            "candidates": shown,
        }
        if labelled:
            flat = flat.select(
                LINE, pl.col("shown").str.head(-2), label=pl.col("shown").str.tail(1).cast(pl.UInt8)
            )
            lists = flat.group_by(LINE, maintain_order=True).agg("shown", "label")
            columns |= {"candidates": lists["shown"], "labels": lists["label"]}
        yield pl.DataFrame(columns)
    bad.raise_any()


def impressions_of(
    writer: StoreWriter, args: argparse.Namespace, source: Path, title: str
) -> Iterator[pl.DataFrame]:
    """The impressions of a folder, block by block; lines that stand twice are counted, and come once."""
    frames = read_behaviors(find_file(source, "behaviors.tsv"), args.encoding)
    seen, twice = np.empty(0, dtype=np.uint64), 0
    for frame in writer.progress.track(frames, title):
        keys = frame["key"].to_numpy()
        new = np.zeros(len(keys), dtype=bool)
        new[np.unique(keys, return_index=True)[1]] = True
        new &= ~np.isin(keys, seen)
        seen, twice = np.concatenate([seen, keys[new]]), twice + int((~new).sum())
        kept = frame if args.keep_doubled else frame.filter(pl.Series(new))
        if len(kept):
            yield kept.drop("key")
    (writer.kept if args.keep_doubled else writer.dropped)(DOUBLED, twice)


def write_splits(writer: StoreWriter, args: argparse.Namespace, dev: DevList | None) -> None:
    """Write the impressions, in the splits chosen by --split, or by a list of those of dev."""
    if args.split == "time":
        parts, time, _ = laid_aside(writer, args, args.train)
        add_parts(writer, args.train, parts, split_times(time, args.shares), SPLITS)
        return
    add_whole(writer, args, "train", args.train)
    if args.split == "once":
        parts, time, ids = laid_aside(writer, args, args.dev)
        if dev is None:
            order = np.random.default_rng(args.seed).permutation(len(time))
            part = np.empty(len(time), dtype=np.int64)
            part[order] = np.arange(len(time)) >= len(time) // 2
        else:
            part = dev.part(writer, ids, f"{args.dev}: behaviors.tsv")
        add_parts(writer, args.dev, parts, part, ("dev", "test"))
        return
    for split, source in (("dev", args.dev), ("test", args.test)):
        if source is not None:
            add_whole(writer, args, split, source)


def laid_aside(
    writer: StoreWriter, args: argparse.Namespace, source: Path
) -> tuple[list[Path], np.ndarray, pl.Series]:
    """All impressions of a folder in files, block by block, with their times and ids: the division is known
    only when all have been read, and a large log does not fit into memory."""
    parts, times, ids = [], [], []
    for number, frame in enumerate(impressions_of(writer, args, source, "reading behaviors.tsv")):
        parts.append(writer.scratch / f"behaviors-{number}")
        frame.write_ipc(parts[-1], compression="lz4")
        times.append(frame["time"].to_numpy())
        ids.append(frame["id"])
    if not times:
        raise InputError(f"{source}: behaviors.tsv holds no impressions")
    return parts, np.concatenate(times), pl.concat(ids)


def add_whole(writer: StoreWriter, args: argparse.Namespace, split: str, source: Path) -> None:
    """A folder as a split, block by block."""
    for frame in impressions_of(writer, args, source, f"{split}: behaviors.tsv"):
        writer.impressions(split, frame, source / "behaviors.tsv")
    if split not in writer.splits:
        raise InputError(f"{source}: behaviors.tsv holds no impressions")


def add_parts(
    writer: StoreWriter, source: Path, parts: Sequence[Path], part: np.ndarray, names: Sequence[str]
) -> None:
    """Write the impressions set aside as several splits; every split keeps the order of the file."""
    for number, split in enumerate(names):
        start = 0
        for path in writer.progress.track(parts, f"{split}: behaviors.tsv"):
            frame = pl.read_ipc(path)
            chosen = part[start : start + len(frame)] == number
            start += len(frame)
            if chosen.any():
                writer.impressions(split, frame.filter(pl.Series(chosen)), source / "behaviors.tsv")


def check(args: argparse.Namespace) -> None:
    """Check which folders go with which split."""
    if args.split == "time" and (args.dev or args.test):
        raise InputError("--split time divides --train alone; leave --dev and --test out")
    if args.split != "time" and not args.dev:
        raise InputError(f"--split {args.split} needs --dev; with only one folder, use --split time")
    if args.split == "once" and args.test:
        raise InputError("--split once makes dev and test of --dev; leave --test out")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = store_arguments(__doc__)
    for name in ("train", "dev", "test"):
        parser.add_argument(f"--{name}", type=Path, metavar="SOURCE", required=name == "train")
    parser.add_argument(
        "--titles", type=Path, nargs="+", metavar="FILE", help="news.tsv of xMIND: titles in another language"
    )
    parser.add_argument("--split", choices=("given", "once", "time"), default="given")
    parser.add_argument("--shares", type=shares, default="0.8,0.1,0.1", help="of train, dev, test in time")
    dev_arguments(parser, "--dev")
    user_arguments(parser)
    text_arguments(parser)
    log_arguments(parser, "impressions that stand twice, the same line")
    args = parser.parse_args(arguments)
    check(args)
    dev = read_dev_list(args)
    settings = ["split", *["shares"] * (args.split == "time"), *["dev_impressions"] * (dev is not None)]
    users = read_user_table(args)
    with open_writer(args, "mind", *settings, users=users) as writer:
        writer.progress.say("reading news.tsv")
        news, file = read_news(args, writer)
        writer.items(news, [field for field in FIELDS if field.name in news.columns], file=file)
        write_splits(writer, args, dev)
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
