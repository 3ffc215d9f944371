"""Amazon reviews with metadata, as collected in 2014, 2018 or 2023, to a data store.

    python process/amazon.py --reviews Toys_and_Games.jsonl.gz --meta meta_Toys_and_Games.jsonl.gz \\
        --out data/Amazon-Toys_and_Games

Files may be gzipped or plain, and several may be given; their keys show the year. A review of at least
--min_rating stars is a click. Users with clicks on --core items and items with clicks by --core users are
kept, repeated until nothing changes. --drop_repeats keeps one of several consecutive clicks on the same item.
--split last: a user's last click is the test, the one before it dev, every earlier one train.
--split time: train, dev and test follow each other in time, with --shares.
A click has the clicks before it as history; in dev and test it is placed among --num_negatives items that the
user never reviewed. Fields: title, description, features (not in 2014), main_category, categories, brand (in
2023 the store) and price.
"""

from __future__ import annotations

import argparse
import ast
import html
import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl

from legorec.data.raw.command import (
    listed,
    log_arguments,
    open_writer,
    print_counts,
    run,
    shares,
    store_arguments,
)
from legorec.data.raw.holdout import (
    Events,
    last_left_out,
    liked_among_unmet,
    split_times,
    without_repeats,
)
from legorec.data.raw.json_lines import by_name, json_columns, places, records
from legorec.data.raw.lines import InputError, unpacked
from legorec.data.raw.readers import numbers_of
from legorec.data.raw.times import UNITS, times_of
from legorec.data.raw.user_tables import read_user_table, user_arguments
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter

PRICE = re.compile(r"\$?\s*([\d,]*\.?\d+)")
PICTURE = re.compile(r'<img\b.*?\balt="([^"]*)"')
FIELDS = (
    *(Column(name, "text") for name in ("title", "description", "features")),
    *(Column(name, "category") for name in ("main_category", "brand")),
    Column("categories", "categories"),
    Column("price", "number"),
)
KINDS = {
    "text": pl.String(),
    "category": pl.String(),
    "categories": pl.List(pl.String),
    "number": pl.Float64(),
}
TYPES = {column.name: KINDS[column.kind] for column in FIELDS}


def literal(line: str) -> dict[str, Any] | None:
    """The object of a line, JSON or a Python literal, which is parsed, never run; None if there is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of backslashes in texts
                value = ast.literal_eval(line)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def tell_year(reviews: Path, meta: Path) -> int:
    """The year in which both files were collected, by the keys of their first lines."""
    heads = (next(unpacked(path), (1, ""))[1].lstrip().partition("\n")[0] for path in (reviews, meta))
    review, item = (literal(head) or {} for head in heads)
    if not {"reviewerID", "user_id"} & review.keys():
        raise InputError(f"{reviews}: these are not reviews: their lines hold 'reviewerID' or 'user_id'")
    if not {"asin", "parent_asin"} & item.keys() or {"overall", "rating"} & item.keys():
        raise InputError(f"{meta}: this is not metadata: its lines hold 'asin' or 'parent_asin', no rating")
    year = 2023 if "parent_asin" in item else 2018 if {"category", "main_cat"} & item.keys() else 2014
    if ("user_id" in review) != (year == 2023):
        of = "2023" if "user_id" in review else "2014 or 2018"
        raise InputError(f"{reviews} is of {of} and {meta} of {year}; take both of one year")
    return year


def read_reviews(args: argparse.Namespace, writer: StoreWriter) -> pl.DataFrame:
    """The reviews in time: user and item (Categorical), rating, time (ms in 2023, else seconds).

    Those that came again are counted, and left out without --keep_doubled.
    """
    keys = ("reviewerID", "asin", "overall", "unixReviewTime")
    if args.year == 2023:
        keys = ("user_id", "parent_asin", "rating", "timestamp")
    unit = "ms" if args.year == 2023 else "s"
    parts = []
    for path in args.reviews:
        for frame in writer.progress.track(json_columns(path, *keys), f"reading {path.name}"):
            user, item = (pl.col(key).cast(pl.Categorical) for key in keys[:2])
            rating = numbers_of(frame, keys[2], str(path))
            times = times_of(frame, keys[3], str(path), unit)
            time = pl.Series(times.values * (UNITS[unit] / times.per_second))
            parts.append(frame.select(user=user, item=item, rating=rating, time=time))
    log = pl.concat(parts).sort("time", maintain_order=True)
    once = log.unique(["user", "item", "time"], keep="first", maintain_order=True)
    again = "reviews that came again (same user, item and time)"
    (writer.kept if args.keep_doubled else writer.dropped)(again, len(log) - len(once))
    return log if args.keep_doubled else once


def read_items(args: argparse.Namespace, wanted: set[str], writer: StoreWriter) -> dict[str, dict[str, Any]]:
    """The fields of some items by their ids; of a repeated item, the first is kept."""
    found: dict[str, dict[str, Any]] = {}
    left_out: Counter[str] = Counter()
    rule = "it must be a JSON object, or a Python literal as in 2014"
    for path in args.meta:
        for record in writer.progress.track(records(path, literal, rule), f"reading {path.name}"):
            key = str(record.get("parent_asin" if args.year == 2023 else "asin", ""))
            left_out["items that came again (the first is kept)"] += key in found
            left_out["items without an id"] += not key
            if key in wanted and key not in found:
                found[key] = fields_of(record, left_out)
    for what, count in left_out.items():
        writer.dropped(what, count)
    return found


def fields_of(record: dict[str, Any], left_out: Counter[str]) -> dict[str, Any]:
    """The fields of an item, the same for every year."""
    title = text_of(record.get("title"))
    if "getTime" in title:  # in 2018 some titles are the code of their page
        title = ""
        left_out["titles that were code"] += 1
    nested = record.get("categories") or record.get("category") or []
    paths = [path if isinstance(path, list) else [path] for path in nested]
    names = dict.fromkeys(text_of(name) for path in paths for name in path)
    categories = [name for name in names if name and not name.startswith("<")]  # in 2018 there is some HTML
    price, amount = record.get("price"), number_of(record.get("price"))
    left_out["prices that were no single number"] += price not in (None, "") and amount is None
    main = record.get("main_category", record.get("main_cat", categories[0] if categories else ""))
    picture = PICTURE.match(text_of(main))
    return {
        "title": title,
        "description": text_of(record.get("description")),
        "features": text_of(record.get("features") or record.get("feature")),
        "main_category": picture[1] if picture else text_of(main),
        "categories": categories,
        "brand": text_of(record.get("store", record.get("brand"))),
        "price": amount,
    }


def text_of(value: Any) -> str:
    """A text, or a list of texts with spaces between; HTML entities are resolved."""
    if isinstance(value, list):
        return " ".join(text for each in value if (text := text_of(each)))
    text = html.unescape(str(value or "")).strip()
    return text.encode("utf-8", "replace").decode()  # JSON can hold half a surrogate pair, a store cannot


def number_of(price: Any) -> float | None:
    """A price, from a number or a text such as $1,234.50; None for anything else, such as a range."""
    if isinstance(price, int | float):
        return float(price) if math.isfinite(price) else None
    found = PRICE.fullmatch(str(price).strip())
    return float(found[1].replace(",", "")) if found else None


def core(pairs: pl.DataFrame, least: int) -> pl.DataFrame:
    """The largest part in which every user has enough items and every item enough users."""
    while True:
        kept = pairs.filter(pl.len().over("item") >= least)
        kept = kept.filter(pl.len().over("user") >= least)
        if len(kept) == len(pairs):
            return kept
        pairs = kept


def write(writer: StoreWriter, args: argparse.Namespace) -> None:
    """Write everything into the store."""
    log = read_reviews(args, writer)
    clicks = log.filter(pl.col("rating") >= args.min_rating)
    writer.dropped("reviews below --min_rating, which are no clicks", len(log) - len(clicks))
    pairs = core(clicks.select("user", "item").unique(), args.core)
    names = by_name(pairs["item"])
    found = read_items(args, set(names.cast(pl.String)), writer)
    there = pl.Series(list(found), dtype=pl.String)
    known = places(pairs["item"], names.filter(names.cast(pl.String).is_in(there.implode())))
    writer.missing.add("reviews", "item ids", known, pairs["item"], there, listed(args.reviews))
    writer.missing.check()
    pairs = core(pairs.filter(pl.Series(known >= 0)), args.core)
    if not len(pairs):
        rule = f"no user and no item has {args.core} others; lower --core or --min_rating"
        raise InputError(f"{listed(args.reviews)}: {rule}")
    users, items = by_name(pairs["user"]), by_name(pairs["item"])
    ids = items.cast(pl.String)
    frame = pl.DataFrame([found[key] for key in ids], schema=TYPES).with_columns(ids.alias("id"))
    fields = [column for column in FIELDS if column.name != "features" or args.year > 2014]
    writer.items(frame, fields, file=listed(args.meta))
    writer.users(pl.DataFrame({"id": users.cast(pl.String)}))
    user, item = places(log["user"], users), places(log["item"], items)
    liked = log["rating"].to_numpy() >= args.min_rating
    size, per_second = (len(users), len(items)), 1000 if args.year == 2023 else 1
    events = Events.sort(user, item, liked, log["time"].to_numpy(), *size, per_second)
    writer.dropped(
        f"clicks outside the {args.core}-core, or of no item", len(clicks) - int(events.liked.sum())
    )
    if args.drop_repeats:
        once = without_repeats(events)
        writer.dropped("clicks on the same item again (--drop_repeats)", len(events.user) - len(once.user))
        events = once
    moments = None if events.time is None else events.time[events.liked]
    part = split_times(moments, args.shares) if args.split == "time" else last_left_out(events)
    liked_among_unmet(writer, events, part, args.num_negatives, args.seed)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = store_arguments(__doc__)
    files: dict[str, Any] = {"type": Path, "metavar": "FILE", "nargs": "+", "required": True}
    parser.add_argument("--reviews", **files, help="reviews_X, X.json or X.jsonl, plain or gzip")
    parser.add_argument("--meta", **files, help="meta_X, of the same year")
    parser.add_argument("--min_rating", type=float, default=1, help="the lowest rating that is a click")
    parser.add_argument("--core", type=int, default=5, help="items of a user, and users of an item, at least")
    parser.add_argument("--drop_repeats", action="store_true", help="leave out an item right after itself")
    parser.add_argument("--split", choices=("last", "time"), default="last")
    parser.add_argument("--num_negatives", type=int, default=20, help="of each dev and test impression")
    parser.add_argument("--shares", type=shares, default="0.8,0.1,0.1", help="of train, dev, test in time")
    user_arguments(parser)
    log_arguments(parser)
    args = parser.parse_args(arguments)
    if args.core < 2:
        raise InputError(f"`core` must be at least 2, got {args.core}: one click has no history; see --core")
    args.year, *others = {tell_year(reviews, meta) for reviews, meta in product(args.reviews, args.meta)}
    if others:
        raise InputError(f"--meta has files of {args.year} and of {others[0]}; take those of one year")
    settings = ["year", "split", "min_rating", "core", "drop_repeats", "num_negatives"]
    users = read_user_table(args)
    with open_writer(args, "amazon", *settings, *["shares"] * (args.split == "time"), users=users) as writer:
        write(writer, args)
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
