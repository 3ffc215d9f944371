"""Goodreads (the UCSD Book Graph) to a data store, filtered as for ONCE.

    python process/goodreads.py --books goodreads_books.json.gz \\
        --interactions goodreads_interactions_dedup.json.gz --num_users 25000 --out data/Goodreads

Files of all books or of a genre, one or several, gzipped or plain. A rating above 3 is a like, below 3 a
dislike; 3 is neither, nor is 0, which means on a shelf and not rated. Books that 5 to --max_item_users users
rated and users with --min_user_likes likes are kept, repeated until nothing changes; then --num_users users
are drawn and books with --min_item_users users kept, again until nothing changes.
--split last: a user's last like is the test, the one before it dev, every earlier one train.
--split share: the likes of each user are divided in time, with --shares.
A like has the likes before it as history. Its other candidates, labelled 0, are the books that the user
disliked since the previous like, so a dislike is in the split of its time. In dev and test there are
--num_negatives more books, which are on no shelf of the user.
goodreads_interactions.csv has no times and other book ids. With --book_map and --time file its rows are taken
in the order of the file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from legorec.data.ragged import offsets_of
from legorec.data.raw.command import listed, open_writer, print_counts, run, shares, store_arguments
from legorec.data.raw.holdout import Events, draw_unmet, labelled_lists, last_left_out
from legorec.data.raw.iso_times import EXAMPLE, clock_seconds
from legorec.data.raw.json_lines import by_name, json_columns, places, records
from legorec.data.raw.lines import InputError, raw_file, unpacked
from legorec.data.raw.quoting import is_quoted, quoted_rows
from legorec.data.raw.readers import LINE, BadLines, numbers_of, read_rows
from legorec.data.raw.user_tables import read_user_table, user_arguments
from legorec.data.store import rows_of
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter

CLOCK = "%a %b %d %H:%M:%S %z %Y"
POOL_ITEM_USERS = 5  # users of a book, before users are drawn


def columns(path: Path, *keys: str) -> Iterator[pl.DataFrame]:
    """Some keys of JSON lines, or columns of a CSV, as texts, block by block; no line is a Python object."""
    yield pl.DataFrame(schema={LINE: pl.Int64} | dict.fromkeys(keys, pl.String))  # for an empty file
    header = csv_header(path)
    if header is None:
        yield from json_columns(path, *keys)
        return
    if missing := [key for key in keys if key not in header]:
        raise InputError(f"{path}: neither JSON lines nor a CSV with a column '{missing[0]}'")
    read = quoted_rows if is_quoted(raw_file(path), ",") else read_rows
    for frame in read(raw_file(path), header, ",", skip_lines=1):
        yield frame.select(LINE, *keys)


def csv_header(path: Path) -> list[str] | None:
    """The names of a CSV's columns; None for JSON lines and for an empty file."""
    text = next(unpacked(path), (1, ""))[1]
    if text.lstrip()[:1] in ("{", ""):
        return None
    return [name.strip('"') for name in text.partition("\n")[0].strip().split(",")]


def with_keys(path: Path, *needed: str) -> Iterator[dict[str, Any]]:
    """The objects of JSON lines, one at a time, each of which must hold some keys."""

    def parse(line: str) -> dict[str, Any] | None:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) and found.keys() >= set(needed) else None

    return records(path, parse, f"it must be a JSON object with {' and '.join(needed)}")


def read_log(args: argparse.Namespace, writer: StoreWriter) -> pl.DataFrame:
    """User events: user and item (Categorical), rating (0 to 5), time (seconds, if rated)."""
    keys = ["user_id", "book_id", "rating", *([] if args.time == "file" else [args.time])]
    parts = []
    for path in args.interactions:
        bad = BadLines(str(path))
        for frame in writer.progress.track(columns(path, *keys), f"reading {path.name}"):
            parts.append(coded(frame, args.time, bad))
        bad.raise_any()
    return pl.concat(parts)


def coded(frame: pl.DataFrame, clock: str, bad: BadLines) -> pl.DataFrame:
    """A block of interactions in about ten bytes per row."""
    rating = numbers_of(frame, "rating", bad.label)
    wrong = frame.filter(~rating.is_in([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]))
    bad.add(wrong[LINE], "rating must be a whole number from 0 to 5")
    user, item = (pl.col(name).cast(pl.Categorical) for name in ("user_id", "book_id"))
    part = frame.select(user=user, item=item, rating=rating.cast(pl.Int8, strict=False))
    if clock == "file":
        return part
    written = frame.select(pl.when(rating > 0).then(pl.col(clock))).to_series()
    time = clock_seconds(written, CLOCK).cast(pl.Int32, strict=False)
    wrong = frame.filter((rating > 0) & time.is_null())
    rule = f"{clock} must be a time as Fri Apr 19 08:15:15 -0700 2013 or {EXAMPLE}"
    bad.add(wrong[LINE], f"{rule}, got {next(iter(wrong[clock]), None)!r}")
    return part.with_columns(time=time)


def book_ids(names: pl.Series, book_map: Path | None) -> pl.Series:
    """The ids of books in the books file, from those in the interactions; "" if there is none."""
    if book_map is None:
        return names.cast(pl.String)
    pairs = pl.concat(columns(book_map, "book_id_csv", "book_id"))
    return names.cast(pl.String).replace_strict(pairs["book_id_csv"], pairs["book_id"], default="")


def select(log: pl.DataFrame, args: argparse.Namespace, writer: StoreWriter) -> pl.DataFrame:
    """The likes and dislikes that are kept, in order of time if there are times; the rest is counted."""
    rated = log.filter(pl.col("rating") > 0)
    rated = rated.sort("time", maintain_order=True) if args.time != "file" else rated
    writer.dropped("interactions without a rating", len(log) - len(rated))
    last = rated.unique(["user", "item"], keep="last", maintain_order=True)
    writer.dropped("ratings of a book that the user rated again", len(rated) - len(last))
    rows = last.filter(pl.col("rating") != 3).with_columns(liked=pl.col("rating") > 3)
    writer.dropped("ratings of 3, neither like nor dislike", len(last) - len(rows))
    # Only ids are read first, so that only the texts of kept books are ever in memory.
    ids = pl.concat(frame for path in args.books for frame in columns(path, "book_id"))["book_id"]
    names = rows["item"].unique()
    there = pl.Series(rows_of(book_ids(names, args.book_map), pl.Enum(ids.unique())) >= 0)
    known = places(rows["item"], names.filter(there))
    files = listed(args.interactions)
    writer.missing.add("ratings", "book ids", known, rows["item"], ids, files)
    writer.missing.check()
    rows = rows.filter(pl.Series(known >= 0))
    pool = rows.filter(pl.len().over("item") <= args.max_item_users)
    pool = core(pool, min(POOL_ITEM_USERS, args.min_item_users), args.min_user_likes)
    writer.dropped("ratings by users or of books with too few or too many", len(rows) - len(pool))
    users, drawn = by_name(pool["user"]), pool
    if args.num_users is not None and args.num_users < len(users):
        chosen = np.random.default_rng(args.seed).choice(len(users), args.num_users, replace=False)
        drawn = pool.filter(pl.Series(places(pool["user"], users.gather(np.sort(chosen))) >= 0))
    writer.dropped("ratings by users who were not drawn", len(pool) - len(drawn))
    rows = core(drawn, args.min_item_users, args.min_user_likes)
    writer.dropped("ratings by users or of books with too few after the draw", len(drawn) - len(rows))
    if not len(rows):
        raise InputError(f"{files}: no user and no book is left; lower --min_item_users or --min_user_likes")
    return rows


def core(rows: pl.DataFrame, item_users: int, user_likes: int) -> pl.DataFrame:
    """The largest part in which every book and every user has enough."""
    while True:
        kept = rows.filter(pl.len().over("item") >= item_users)
        kept = kept.filter(pl.col("liked").sum().over("user") >= user_likes)
        if len(kept) == len(rows):
            return kept
        rows = kept


def read_books(args: argparse.Namespace, wanted: pl.Series, writer: StoreWriter) -> pl.DataFrame:
    """The fields of some books, in their order; of a repeated book, the first is kept."""
    found: dict[str, dict[str, Any]] = {}
    again, ids, track = 0, set(wanted), writer.progress.track
    for path in args.books:
        for book in track(with_keys(path, "book_id", "title"), f"reading {path.name}"):
            if (key := str(book["book_id"])) in ids:
                again += key in found
                texts = {name: str(book.get(name) or "") for name in ("title", "description")}
                # JSON can hold half a surrogate pair, which a store cannot.
                texts = {name: text.encode("utf-8", "replace").decode() for name, text in texts.items()}
                authors = [author["author_id"] for author in book.get("authors", ())]
                found.setdefault(key, {**texts, "authors": authors})
    writer.dropped("books that came again (the first is kept)", again)
    if args.authors:
        names = {each["author_id"]: each["name"] for each in with_keys(args.authors, "author_id", "name")}
        for fields in found.values():
            fields["authors"] = [names.get(author, author) for author in fields["authors"]]
    for each in with_keys(args.genres, "book_id", "genres") if args.genres else ():
        if each["book_id"] in ids:
            found[each["book_id"]]["genres"] = list(each["genres"])
    types: dict[str, Any] = {"title": pl.String, "description": pl.String}
    types |= dict.fromkeys(("authors", "genres"), pl.List(pl.String))
    return pl.DataFrame([found[key] for key in wanted], schema=types).with_columns(wanted.alias("id"))


def divide(events: Events, parts: Sequence[float]) -> np.ndarray:
    """The split (0, 1, 2) of each like by its place among the user's, with at least one in dev and in test.

    As in ``last_left_out``, the first like has no history and is in no split (-1).
    """
    user, place = events.user[events.liked], events.likes_before[events.liked]
    count = events.likes.lengths[user]
    dev, test = (np.maximum(np.round((count - 1) * part), part > 0) for part in parts[1:])
    left = count - place  # 1 for the last
    part = np.where(left <= test, 2, np.where(left <= test + dev, 1, 0))
    return np.where(place == 0, -1, part)


def write_likes(writer: StoreWriter, events: Events, part: np.ndarray, drawn: Sequence[np.ndarray]) -> None:
    """Every like, the dislikes since the previous one and, in dev and test, the drawn books (likes, n)."""
    likes, dislikes = np.flatnonzero(events.liked), np.flatnonzero(~events.liked)
    lengths, user = events.likes.lengths, events.user[dislikes]
    # Dislikes after the last like have no next like and go with the last one.
    beside = offsets_of(lengths)[user] + np.minimum(events.likes_before[dislikes], lengths[user] - 1)
    writer.dropped("dislikes before the first like of a user", int((part[beside] < 0).sum()))
    held = [np.repeat(np.flatnonzero(part == 1 + number), each.shape[1]) for number, each in enumerate(drawn)]
    group = np.concatenate([np.arange(len(likes)), beside, *held])
    item = np.concatenate([events.item[likes], events.item[dislikes], *(each.reshape(-1) for each in drawn)])
    order = np.lexsort((item, group))  # by item, so that a candidate's place reveals nothing
    group = group[order]
    time = None if events.time is None else events.time[likes][group]
    whose, size = events.user[likes][group], (events.num_users, events.num_items)
    lists = Events(whose, item[order], order < len(likes), time, order, *size)
    labelled_lists(writer, lists, part[group], group)


def write(writer: StoreWriter, args: argparse.Namespace) -> None:
    """Write everything into the store."""
    log = read_log(args, writer)
    rows = select(log, args, writer)
    users, items = by_name(rows["user"]), by_name(rows["item"])
    fields = [Column("title", "text"), Column("description", "text"), Column("authors", "categories")]
    fields += [Column("genres", "categories")] if args.genres else []
    writer.items(read_books(args, book_ids(items, args.book_map), writer), fields, file=listed(args.books))
    writer.users(pl.DataFrame({"id": users.cast(pl.String)}))
    size = (len(users), len(items))
    time = rows["time"].cast(pl.Int64).to_numpy() if "time" in rows.columns else None
    user, item = places(rows["user"], users), places(rows["item"], items)
    events = Events.sort(user, item, rows["liked"].to_numpy(), time, *size)
    user, item = places(log["user"], users), places(log["item"], items)
    met = Events.sort(user, item, np.zeros(len(log), dtype=bool), None, *size)
    part = last_left_out(events) if args.split == "last" else divide(events, args.shares)
    owner, count = events.user[events.liked], args.num_negatives
    streams = ((number, np.random.default_rng([args.seed, number])) for number in (1, 2))
    drawn = [draw_unmet(met, owner[part == number], count, rng) for number, rng in streams]
    write_likes(writer, events, part, drawn)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = store_arguments(__doc__)
    file: dict[str, Any] = {"type": Path, "metavar": "FILE"}
    parser.add_argument("--books", **file, nargs="+", required=True, help="goodreads_books*")
    parser.add_argument("--interactions", **file, nargs="+", required=True, help="goodreads_interactions*")
    parser.add_argument("--book_map", **file, help="book_id_map.csv, for goodreads_interactions.csv")
    parser.add_argument("--authors", **file, help="goodreads_book_authors*: names in place of ids")
    parser.add_argument("--genres", **file, help="goodreads_book_genres*: a field of genres")
    parser.add_argument("--time", choices=("date_updated", "date_added", "file"), default="date_updated")
    parser.add_argument("--min_item_users", type=int, default=10, help="who rated a book 1, 2, 4 or 5")
    parser.add_argument("--max_item_users", type=int, default=10_000, help="the same, in the files")
    parser.add_argument("--min_user_likes", type=int, default=10)
    parser.add_argument("--num_users", type=int, help="at most so many, drawn; without it all")
    parser.add_argument("--split", choices=("last", "share"), default="last")
    parser.add_argument("--num_negatives", type=int, default=20, help="of each dev and test impression")
    parser.add_argument("--shares", type=shares, default="0.8,0.1,0.1", help="of train, dev, test")
    user_arguments(parser)
    args = parser.parse_args(arguments)
    if args.min_user_likes < 2:
        raise InputError(f"`min_user_likes` must be at least 2, got {args.min_user_likes}; the default is 10")
    in_csv = any(".csv" in path.suffixes for path in args.interactions)
    if len({in_csv, bool(args.book_map), args.time == "file"}) > 1:
        raise InputError("goodreads_interactions.csv, --time file and --book_map go together or not at all")
    settings = "time split min_item_users max_item_users min_user_likes num_users num_negatives".split()
    users = read_user_table(args)
    with open_writer(
        args, "goodreads", *settings, *["shares"] * (args.split == "share"), users=users
    ) as writer:
        write(writer, args)
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
