"""Every processor that reads times reads ISO 8601 as well, and makes the same store of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from process import amazon, ebnerd, goodreads, mind, movielens, tables
from tests.process import test_amazon, test_ebnerd, test_goodreads, test_mind, test_movielens
from tests.support.raw_files import made, refusal
from tests.support.small_store import files


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def mind_pair(folder: Path) -> tuple[Any, Any]:
    def rewritten(line: str) -> str:
        cells = line.split("\t")
        cells[2] = datetime.strptime(cells[2], mind.CLOCK).isoformat(" ")
        return "\t".join(cells)

    folder.mkdir()
    pair = []
    for name, line in (("own", str), ("iso", rewritten)):
        parts = {"train": (test_mind.NEWS, test_mind.TRAIN), "dev": (test_mind.DEV_NEWS, test_mind.DEV)}
        argument: list[Any] = []
        for part, (news, rows) in parts.items():
            path = test_mind.folder(folder / f"{name}-{part}", news, [line(each) for each in rows])
            argument += [f"--{part}", path]
        pair.append(argument)
    return tuple(pair)


def goodreads_pair(folder: Path) -> tuple[Any, Any]:
    rows = test_goodreads.shelves()
    again = [
        row | {"date_updated": datetime.strptime(row["date_updated"], goodreads.CLOCK).isoformat()}
        for row in rows
    ]
    return tuple(
        (*test_goodreads.raw(folder / name, each), *test_goodreads.CORE)
        for name, each in (("own", rows), ("iso", again))
    )


def amazon_pair(folder: Path) -> tuple[Any, Any]:
    clicks = test_amazon.clicks()
    pair = []
    for name in ("own", "iso"):
        argument = test_amazon.raw(folder / name, 2023, clicks, end="json")
        if name == "iso":
            rows = [
                test_amazon.review(2023, *row) | {"timestamp": f"{iso(row[3])[:-6]}.007Z"} for row in clicks
            ]
            test_amazon.write_lines(Path(argument[1]), rows, 2023)
        pair.append((*argument, *test_amazon.CORE))
    return tuple(pair)


def ebnerd_pair(folder: Path) -> tuple[Any, Any]:
    for name in ("own", "iso"):
        for number, part in enumerate(("train", "validation")):
            start = test_ebnerd.START + number * test_ebnerd.WEEK
            log = test_ebnerd.behaviors(start, 60, number)
            before = test_ebnerd.histories(start, 10 + number)
            if name == "iso":
                clock = "%Y-%m-%dT%H:%M:%S%.f"
                log = log.with_columns(pl.col("impression_time").dt.strftime(clock))
                lists = pl.col("impression_time_fixed").list.eval(pl.element().dt.strftime(clock))
                before = before.with_columns(lists)
            test_ebnerd.write(folder / name / part, log, before)
        test_ebnerd.articles().write_parquet(folder / name / "articles.parquet")
    return ("--source", folder / "own"), ("--source", folder / "iso")


def movielens_pair(folder: Path) -> tuple[Any, Any]:
    folder.mkdir()
    again = [(*row[:3], iso(row[3])) for row in test_movielens.RATINGS]
    own = test_movielens.write_atomic(folder / "own")
    return ("--source", own), ("--source", test_movielens.write_atomic(folder / "iso", again))


PAIRS: dict[str, tuple[Callable[..., None], Callable[[Path], tuple[Any, Any]]]] = {
    "mind": (mind.main, mind_pair),
    "goodreads": (goodreads.main, goodreads_pair),
    "amazon": (amazon.main, amazon_pair),
    "ebnerd": (ebnerd.main, ebnerd_pair),
    "movielens": (movielens.main, movielens_pair),
}


@pytest.mark.parametrize("name", PAIRS)
def test_iso_8601_gives_the_same_store(tmp_path: Path, name: str) -> None:
    main, pair = PAIRS[name]
    own, iso = (
        files(made(main, tmp_path / each, *arguments).path)
        for each, arguments in zip(("a", "b"), pair(tmp_path / "raw"), strict=True)
    )
    assert len(own) > 5 and own == iso


def test_a_column_that_mixes_both_is_refused_with_its_first_line(tmp_path, capsys):
    (tmp_path / "items.csv").write_text("item\n1\n2\n")
    log = tmp_path / "log.csv"
    argv = ("--items", tmp_path / "items.csv", "--interactions", log, "--time", "t", "--out", tmp_path / "s")
    log.write_text("user,item,t\na,1,2024-05-01\na,2,1714600000\nb,2,x\n")
    assert refusal(tables.main, argv, capsys) == (
        f"error: {log}: line 3: t must be a time in ISO 8601, as the first one is (2024-05-01T10:30:00Z), "
        "got '1714600000'; 2 malformed lines in all"
    )
    log.write_text("user,item,t\na,1,1714600000\na,2,2024-05-01\n")
    said = refusal(tables.main, argv, capsys)
    assert "line 3: t must be a number, got '2024-05-01'; times written as text are ISO 8601 in" in said
    assert said.endswith("(2024-05-01T10:30:00Z), or need --time_format; 1 malformed line in all")
