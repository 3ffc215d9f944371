"""MIND (and data in its layout, such as xMIND) to a data store.

    python process/mind.py --train MINDsmall_train --dev MINDsmall_dev --split once --out data/MIND-small

Each folder or zip holds news.tsv and behaviors.tsv. Every impression keeps its own history.
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

from legorec.data.raw.command import open_writer, print_counts, run, shares, store_arguments
from legorec.data.raw.dev_list import DevList, dev_arguments, read_dev_list
from legorec.data.raw.holdout import SPLITS, split_times
from legorec.data.raw.lines import InputError, RawFile, find_file
from legorec.data.raw.readers import LINE, BadLines, read_frame, read_rows
from legorec.data.raw.user_tables import read_user_table, user_arguments
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter

NEWS = ("id", "category", "subcategory", "title", "abstract")
BEHAVIORS = ("id", "user", "time", "history", "shown")
CLOCK = "%m/%d/%Y %I:%M:%S %p"
FIELDS = (
    Column("title", "text"),
    Column("abstract", "text"),
    Column("category", "category"),
    Column("subcategory", "category"),
)


def read_news(sources: Sequence[Path]) -> tuple[pl.DataFrame, int]:
    """The news of all folders, the first of each, and how often one was repeated with other content."""
    frames = [read_frame(find_file(source, "news.tsv"), NEWS, more_columns=True) for source in sources]
    news = pl.concat(frames).select(NEWS)
    first = news.unique("id", keep="first", maintain_order=True)
    return first, news.unique().height - first.height


def read_behaviors(file: RawFile) -> Iterator[pl.DataFrame]:
    """Impressions block by block: id, user, time, history, candidates and, where the file has them,
    labels."""
    bad = BadLines(file.label)
    labelled: bool | None = None
    for frame in read_rows(file, BEHAVIORS):
        time = frame["time"].str.to_datetime(CLOCK, strict=False)
        bad.add(
            frame.filter(time.is_null())[LINE], "the third column must be a time as 11/13/2019 8:36:57 AM"
        )
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
            "id": frame["id"],
            "user": frame["user"],
            "time": time.dt.epoch("s"),
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


def write_splits(writer: StoreWriter, args: argparse.Namespace, dev: DevList | None) -> None:
    """Write the impressions, in the splits chosen by --split, or by a list of those of dev."""
    if args.split == "time":
        parts, time, _ = laid_aside(writer, args.train)
        add_parts(writer, parts, split_times(time, args.shares), SPLITS)
        return
    add_whole(writer, "train", args.train)
    if args.split == "once":
        parts, time, ids = laid_aside(writer, args.dev)
        if dev is None:
            order = np.random.default_rng(args.seed).permutation(len(time))
            part = np.empty(len(time), dtype=np.int64)
            part[order] = np.arange(len(time)) >= len(time) // 2
        else:
            part = dev.part(writer, ids, f"{args.dev}: behaviors.tsv")
        add_parts(writer, parts, part, ("dev", "test"))
        return
    for split, source in (("dev", args.dev), ("test", args.test)):
        if source is not None:
            add_whole(writer, split, source)


def laid_aside(writer: StoreWriter, source: Path) -> tuple[list[Path], np.ndarray, pl.Series]:
    """All impressions of a folder in files, block by block, with their times and ids: the division is known
    only when all have been read, and a large log does not fit into memory."""
    parts, times, ids = [], [], []
    frames = read_behaviors(find_file(source, "behaviors.tsv"))
    for number, frame in enumerate(writer.progress.track(frames, "reading behaviors.tsv")):
        parts.append(writer.scratch / f"behaviors-{number}")
        frame.write_ipc(parts[-1], compression="lz4")
        times.append(frame["time"].to_numpy())
        ids.append(frame["id"])
    if not times:
        raise InputError(f"{source}: behaviors.tsv holds no impressions")
    return parts, np.concatenate(times), pl.concat(ids)


def add_whole(writer: StoreWriter, split: str, source: Path) -> None:
    """A folder as a split, block by block."""
    frames = read_behaviors(find_file(source, "behaviors.tsv"))
    for frame in writer.progress.track(frames, f"{split}: behaviors.tsv"):
        writer.impressions(split, frame)
    if split not in writer.splits:
        raise InputError(f"{source}: behaviors.tsv holds no impressions")


def add_parts(writer: StoreWriter, parts: Sequence[Path], part: np.ndarray, names: Sequence[str]) -> None:
    """Write the impressions set aside as several splits; every split keeps the order of the file."""
    for number, split in enumerate(names):
        start = 0
        for path in writer.progress.track(parts, f"{split}: behaviors.tsv"):
            frame = pl.read_ipc(path)
            chosen = part[start : start + len(frame)] == number
            start += len(frame)
            if chosen.any():
                writer.impressions(split, frame.filter(pl.Series(chosen)))


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
    parser.add_argument("--split", choices=("given", "once", "time"), default="given")
    parser.add_argument("--shares", type=shares, default="0.8,0.1,0.1", help="of train, dev, test in time")
    dev_arguments(parser, "--dev")
    user_arguments(parser)
    args = parser.parse_args(arguments)
    check(args)
    dev = read_dev_list(args)
    settings = ["split", *["shares"] * (args.split == "time"), *["dev_impressions"] * (dev is not None)]
    users = read_user_table(args)
    with open_writer(args, "mind", *settings, users=users) as writer:
        sources = [source for source in (args.train, args.dev, args.test) if source is not None]
        writer.progress.say("reading news.tsv")
        news, changed = read_news(sources)
        writer.dropped("news that came again with other content (the first is kept)", changed)
        writer.items(news, FIELDS)
        write_splits(writer, args, dev)
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
