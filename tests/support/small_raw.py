"""Small raw files of every processor that reads some, and the files among them that are logs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import process.amazon
import process.ebnerd
import process.goodreads
import process.mind
import process.movielens
import process.recbench
import process.tables
import process.unitok
from tests.process import test_amazon as amazon
from tests.process import test_ebnerd as ebnerd
from tests.process import test_goodreads as goodreads
from tests.process import test_mind as mind
from tests.process import test_movielens as movielens
from tests.process import test_recbench as recbench
from tests.process import test_tables as tables
from tests.support import unitok_depots as depots


class Raw(NamedTuple):
    """A processor with arguments that name small files."""

    main: Callable[..., None]
    arguments: list[Any]  # without --out
    folder: Path
    logs: list[str]  # what users did, with times, below the folder

    @property
    def files(self) -> list[Path]:
        """All files below the folder."""
        return sorted(path for path in self.folder.rglob("*") if path.is_file())


def small_amazon(folder: Path) -> Raw:
    arguments = amazon.raw(folder, 2023, amazon.clicks(), end="json")
    return Raw(process.amazon.main, [*arguments, *amazon.CORE], folder, ["reviews_Toys.json"])


def small_ebnerd(folder: Path) -> Raw:
    for number, name in enumerate(("train", "validation")):
        start = ebnerd.START + number * timedelta(days=7)
        ebnerd.write(folder / name, ebnerd.behaviors(start, 30, number), ebnerd.histories(start, number))
    ebnerd.articles().write_parquet(folder / "articles.parquet")
    logs = [f"{name}/behaviors.parquet" for name in ("train", "validation")]
    return Raw(process.ebnerd.main, ["--source", folder, "--grow_history"], folder, logs)


def small_goodreads(folder: Path) -> Raw:
    arguments = goodreads.raw(folder, goodreads.shelves(), end="")
    return Raw(
        process.goodreads.main, [*arguments, *goodreads.CORE], folder, ["goodreads_interactions_dedup.json"]
    )


def small_mind(folder: Path) -> Raw:
    folder.mkdir()
    mind.folder(folder / "train", mind.NEWS, mind.TRAIN)
    mind.folder(folder / "dev", mind.DEV_NEWS, mind.DEV)
    arguments = ["--train", folder / "train", "--dev", folder / "dev"]
    return Raw(process.mind.main, arguments, folder, ["train/behaviors.tsv", "dev/behaviors.tsv"])


def small_movielens(layout: str) -> Callable[[Path], Raw]:
    def written(folder: Path) -> Raw:
        write = {"100k": movielens.write_100k, "1m": movielens.write_1m, "atomic": movielens.write_atomic}
        write[layout](folder)
        log = {"100k": "u.data", "1m": "ratings.dat", "atomic": "ml.inter"}[layout]
        return Raw(process.movielens.main, ["--source", folder], folder, [log])

    return written


def small_recbench(folder: Path) -> Raw:
    return Raw(process.recbench.main, ["--source", recbench.raw(folder)], folder, [])


def small_tables(ending: str) -> Callable[[Path], Raw]:
    def written(folder: Path) -> Raw:
        items, log = (
            tables.write(folder, f"{name}.{ending}", table)
            for name, table in (("items", tables.ITEMS), ("log", tables.LOG))
        )
        named = ["--items", items, *tables.FIELDS, "--interactions", log, "--item", "book"]
        more = ["--rating", "stars", "--time", "when", "--num_negatives", 5]
        return Raw(process.tables.main, [*named, *more], folder, [log.name])

    return written


def small_unitok(folder: Path) -> Raw:
    named = {"items": depots.ITEMS, "users": depots.USERS, "train": depots.TRAIN, "dev": depots.DEV}
    arguments: list[Any] = ["import"]
    for name, columns in named.items():
        arguments += [f"--{name}", depots.version_4(folder / name, columns, depots.WORDS)]
    return Raw(process.unitok.main, [*arguments, "--max_missing", 1], folder, [])


SMALL: dict[str, Callable[[Path], Raw]] = {
    "amazon": small_amazon,
    "ebnerd": small_ebnerd,
    "goodreads": small_goodreads,
    "mind": small_mind,
    **{f"movielens {each}": small_movielens(each) for each in ("100k", "1m", "atomic")},
    "recbench": small_recbench,
    **{f"tables {each}": small_tables(each) for each in ("csv", "tsv", "jsonl", "parquet")},
    "unitok": small_unitok,
}
