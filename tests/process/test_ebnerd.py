"""EB-NeRD: histories that lie before, grown or not; validation divided; a test without clicks; bad files."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import process.ebnerd
from legorec.data.raw.holdout import DOUBLED, SPLITS
from legorec.data.store import Store
from process.ebnerd import main
from tests.process.test_goodreads import impressions
from tests.support.raw_files import made, refusal
from tests.support.small_store import files

START = datetime(2023, 5, 18, 7)
EPOCH = datetime(1970, 1, 1)
WEEK = timedelta(days=7)
NUM_ARTICLES, NUM_USERS = 40, 12
ARTICLES = [9_700_000 + number for number in range(NUM_ARTICLES)]
TIME = pl.Datetime("us")


def articles(words: str = "Nyt") -> pl.DataFrame:
    """articles.parquet, with some of what stands beside the columns that are read."""
    number = range(NUM_ARTICLES)
    return pl.DataFrame(
        {
            "article_id": pl.Series(ARTICLES, dtype=pl.Int32),
            "title": [f"{words} om sag {n}" for n in number],
            "subtitle": [None if n % 3 else f"Læs {n}" for n in number],
            "last_modified_time": pl.Series([START] * NUM_ARTICLES, dtype=TIME),
            "premium": [n % 2 == 0 for n in number],
            "body": [f"Brødtekst {n}" for n in number],
            "published_time": pl.Series([START] * NUM_ARTICLES, dtype=TIME),
            "image_ids": pl.Series([None if n % 2 else [n] for n in number], dtype=pl.List(pl.Int64)),
            "topics": [["Sport", "Kendt"][: n % 3] for n in number],
            "category": pl.Series([n % 4 for n in number], dtype=pl.Int16),
            "subcategory": pl.Series([[196, 271][: n % 3] for n in number], dtype=pl.List(pl.Int16)),
            "category_str": [f"kategori{n % 4}" for n in number],
            "sentiment_score": pl.Series([0.5] * NUM_ARTICLES, dtype=pl.Float32),
            "sentiment_label": ["Neutral"] * NUM_ARTICLES,
        }
    )


def behaviors(start: datetime, count: int, seed: int, clicked: bool = True) -> pl.DataFrame:
    """behaviors.parquet of a week, in no order of time; some impressions are of one moment."""
    rng = np.random.default_rng(seed)
    shown = [
        sorted(rng.choice(ARTICLES, int(rng.integers(3, 7)), replace=False).tolist()) for _ in range(count)
    ]
    front = rng.random(count) < 0.7
    columns = {
        "impression_id": pl.Series(range(100, 100 + count), dtype=pl.UInt32),
        "article_id": pl.Series([None if each else ARTICLES[0] for each in front], dtype=pl.Int32),
        "impression_time": pl.Series(
            [start + timedelta(seconds=int(second)) for second in rng.integers(0, 60, count)], dtype=TIME
        ),
        "article_ids_inview": pl.Series(shown, dtype=pl.List(pl.Int32)),
        "user_id": pl.Series(rng.integers(1, NUM_USERS + 1, count), dtype=pl.UInt32),
    }
    if clicked:
        picked = [[each[int(rng.integers(len(each)))]] for each in shown]
        columns["article_ids_clicked"] = pl.Series(picked, dtype=pl.List(pl.Int32))
    return pl.DataFrame(columns)


def histories(start: datetime, seed: int) -> pl.DataFrame:
    """history.parquet of three weeks before; one user's clicks are not in order."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, NUM_USERS)
    ago = [sorted(rng.choice(20 * 86400, size, replace=False) + 1, reverse=True) for size in sizes]
    ago[3] = ago[3][::-1]
    return pl.DataFrame(
        {
            "user_id": pl.Series(range(1, NUM_USERS + 1), dtype=pl.UInt32),
            "impression_time_fixed": pl.Series(
                [[start - timedelta(seconds=int(each)) for each in row] for row in ago], dtype=pl.List(TIME)
            ),
            "article_id_fixed": pl.Series(
                [rng.choice(ARTICLES, size).tolist() for size in sizes], dtype=pl.List(pl.Int32)
            ),
        }
    )


def write(folder: Path, log: pl.DataFrame, before: pl.DataFrame) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    log.write_parquet(folder / "behaviors.parquet")
    before.write_parquet(folder / "history.parquet")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A bundle as it is unpacked."""
    folder = tmp_path / "ebnerd_demo"
    for number, name in enumerate(("train", "validation")):
        start = START + number * WEEK
        write(folder / name, behaviors(start, 80 - 30 * number, number), histories(start, 10 + number))
    articles().write_parquet(folder / "articles.parquet")
    return folder


def expected(folder: Path, grow: bool = False) -> list[tuple[str, list[str], dict[str, int], int]]:
    """The impressions of a folder, one row at a time."""
    log = pl.read_parquet(folder / "behaviors.parquet").to_dicts()
    clicks = [
        (str(row["user_id"]), when, str(item))
        for row in pl.read_parquet(folder / "history.parquet").to_dicts()
        for when, item in zip(row["impression_time_fixed"], row["article_id_fixed"], strict=True)
    ]
    if grow:
        clicks += [
            (str(row["user_id"]), row["impression_time"], str(i))
            for row in log
            for i in row["article_ids_clicked"]
        ]
    clicks = list(dict.fromkeys(sorted(clicks, key=lambda click: click[1])))  # none twice
    return [
        (
            str(row["user_id"]),
            [
                item
                for user, when, item in clicks
                if user == str(row["user_id"]) and when < row["impression_time"]
            ],
            {str(item): int(item in row["article_ids_clicked"]) for item in row["article_ids_inview"]},
            int((row["impression_time"] - EPOCH).total_seconds()),
        )
        for row in log
    ]


def key(row: tuple[str, list[str], dict[str, int], int]) -> tuple[Any, ...]:
    return row[3], row[0], row[1], sorted(row[2].items())


@pytest.mark.parametrize("grow", [False, True])
def test_every_impression_with_what_was_clicked_before_it(source: Path, tmp_path: Path, grow: bool) -> None:
    more = ("--grow_history",) * grow
    store = made(main, tmp_path / "store", "--source", source, "--split", "given", *more)
    assert store.splits == ("train", "dev") and list(store.items.ids) == [str(each) for each in ARTICLES]
    assert impressions(store, "train") == expected(source / "train", grow)
    assert impressions(store, "dev") == expected(source / "validation", grow)
    assert store.manifest["made_with"]["grow_history"] is grow
    assert store.manifest["dropped"]["rows"].keys() <= {f"clicks: {DOUBLED}"}
    shared = store.interactions("train")
    assert grow or len(set(shared.span.tolist())) == len(set(shared.user.tolist())), (
        "a history is stored once"
    )


def test_impressions_keep_their_ids(source: Path, tmp_path: Path) -> None:
    def ids(folder: str) -> list[str]:
        return [str(each) for each in pl.read_parquet(source / folder / "behaviors.parquet")["impression_id"]]

    store = made(main, tmp_path / "store", "--source", source, "--split", "time")
    assert list(store.interactions("train").ids) == ids("train")
    moments = pl.read_parquet(source / "validation" / "behaviors.parquet")["impression_time"].dt.epoch("s")
    wanted = dict(zip(ids("validation"), moments.to_list(), strict=True))
    for split in ("dev", "test"):
        shown = store.interactions(split)
        assert [wanted.pop(each) for each in shown.ids] == shown.time.tolist()
    assert not wanted


def test_fields(source: Path, tmp_path: Path) -> None:
    store = made(main, tmp_path / "store", "--source", source)
    assert store.items.text("title")[2] == "Nyt om sag 2" and store.items.text("subtitle")[1] == ""
    assert store.vocabulary("category") == [f"kategori{n}" for n in range(4)]
    assert store.vocabulary("subcategory") == ["196", "271"] and store.vocabulary("premium") == [
        "false",
        "true",
    ]
    assert store.vocabulary("topics") == ["Kendt", "Sport"]


@pytest.mark.parametrize("split", ["time", "once"])
def test_validation_is_divided(source: Path, tmp_path: Path, split: str) -> None:
    store = made(main, tmp_path / "store", "--source", source, "--split", split, "--grow_history")
    assert store.splits == SPLITS and impressions(store, "train") == expected(source / "train", True)
    dev, test = (impressions(store, name) for name in ("dev", "test"))
    assert sorted(dev + test, key=key) == sorted(expected(source / "validation", True), key=key)
    assert max(row[3] for row in impressions(store, "train")) < min(row[3] for row in dev + test)
    if split == "time":
        assert max(row[3] for row in dev) < min(row[3] for row in test) and abs(len(dev) - len(test)) < 8
    else:
        assert len(dev) == len(test) == 25 and max(row[3] for row in dev) > min(row[3] for row in test)


def test_validation_is_divided_by_a_given_list(source: Path, tmp_path: Path) -> None:
    import numpy as np

    ids = pl.read_parquet(source / "validation" / "behaviors.parquet")["impression_id"].to_numpy()
    np.save(tmp_path / "dev.npy", ids[::-3])
    arguments = ("--source", source, "--split", "once", "--dev_impressions", tmp_path / "dev.npy")
    store = made(main, tmp_path / "store", *arguments)
    found = [list(store.interactions(split).ids or []) for split in ("dev", "test")]
    listed = set(map(str, ids[::-3]))
    assert found == [
        [str(each) for each in ids if (str(each) in listed) == wanted] for wanted in (True, False)
    ]


def test_the_same_seed_gives_the_same_store_and_so_do_smaller_blocks(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--source", source, "--split", "once", "--grow_history")
    one = made(main, tmp_path / "store", *arguments)
    monkeypatch.setattr(process.ebnerd, "ROWS", 7)
    again = made(main, tmp_path / "again", *arguments)
    assert one.digest == again.digest and files(tmp_path / "store") == files(tmp_path / "again")
    assert made(main, tmp_path / "other", *arguments, "--seed", 1).digest != one.digest


def test_the_test_of_the_challenge_has_no_clicks(source: Path, tmp_path: Path) -> None:
    folder, start = tmp_path / "ebnerd_testset", START + 2 * WEEK
    write(folder / "test", behaviors(start, 20, 5, clicked=False), histories(start, 6))
    more = pl.concat([articles("Ændret"), articles().head(1).with_columns(article_id=pl.lit(1, pl.Int32))])
    more.write_parquet(folder / "articles.parquet")
    arguments = ("--source", source, "--split", "given", "--grow_history", "--test", folder)
    store = made(main, tmp_path / "store", *arguments)
    assert [store.interactions(split).labelled for split in SPLITS] == [True, True, False]
    assert len(store.interactions("test")) == 20 and not store.interactions("test").labels.any()
    assert store.items.text("title")[1] == "Nyt om sag 1" and list(store.items.ids)[-1] == "1"
    rows = store.manifest["dropped"]["rows"]
    assert rows["articles that came again with other content (the first is kept)"] == NUM_ARTICLES
    assert len(rows) == 1 + (f"clicks: {DOUBLED}" in rows)
    write(folder / "test", behaviors(start, 20, 5), histories(start, 6))
    assert made(main, tmp_path / "labelled", *arguments).interactions("test").labels.sum() == 20


def test_what_is_dropped_is_counted(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = behaviors(START, 80, 0)
    first = log["user_id"][0]
    before = histories(START, 10).filter(pl.col("user_id") != first)
    late = pl.col("impression_time_fixed").list.eval(pl.element() + timedelta(days=30))
    write(source / "train", log, before.with_columns(late))
    arguments = ["--source", source, "--out", tmp_path / "store"]
    said = refusal(main, arguments, capsys)
    count = int((log["user_id"] == first).sum())
    assert f"{count} of 80 user ids (train) are in no table" in said and f"'{first}'" in said
    assert "--max_missing" in said and not list(tmp_path.glob("store*"))
    main([str(part) for part in (*arguments, "--max_missing", 0.5)])
    store = Store.open(tmp_path / "store")
    assert len(store.interactions("train")) == 80 - count
    rows = store.manifest["dropped"]["rows"]
    assert rows["clicks of a history that are not before the impression (train)"] > 0
    assert impressions(store, "train") == [row for row in expected(source / "train") if row[0] != str(first)]
    unseen = behaviors(START, 80, 0).with_columns(
        article_ids_clicked=pl.concat_list(pl.lit(ARTICLES[0], pl.Int32), pl.lit(7, pl.Int32)),
        article_ids_inview=pl.concat_list(pl.lit(ARTICLES[1], pl.Int32), pl.lit(ARTICLES[2], pl.Int32)),
    )
    write(source / "train", unseen, histories(START, 10))
    assert "80 of 160 item ids in clicks (train)" in refusal(main, [*arguments, "--overwrite"], capsys)
    store = made(main, tmp_path / "unseen", "--source", source, "--max_missing", 1)
    assert store.manifest["dropped"]["rows"] == {"clicks on articles that were not in view (train)": 80}


def test_bad_files_and_arguments(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*extra: Any) -> str:
        return refusal(main, ["--source", source, "--out", tmp_path / "store", *extra], capsys)

    log, before = behaviors(START, 80, 0), histories(START, 10)
    twice = pl.concat([before, before.head(2)])
    short = before.with_columns(article_id_fixed=pl.col("article_id_fixed").list.head(1))
    text = pl.col("impression_time").dt.strftime("%d.%m.%Y")
    one = log.with_columns(impression_time=pl.lit(START, TIME))
    for place, rows, history, message in [
        ("train", log.rename({"user_id": "user"}), before, "no column 'user_id'; did you mean 'user'?"),
        ("train", log.drop("article_ids_clicked"), before, "no column 'article_ids_clicked'"),
        ("train", log, before.rename({"article_id_fixed": "article_id"}), "no column 'article_id_fixed'"),
        ("train", log, twice, "a user must have one row; 2 rows are another, e.g. of '1'"),
        ("train", log, short, "must be equally long; in "),
        ("train", log.with_columns(text), before, "e.g. '18.05.2023' in row 1; times written as text"),
        ("train", log.with_columns(impression_time=pl.lit(None, TIME)), before, "80 of them are missing"),
        ("train", log.head(0), before, "behaviors.parquet: it holds no impressions"),
        ("validation", one, before, "the split by time leaves 'dev' empty"),
    ]:  # fmt: skip
        kept = {path: path.read_bytes() for path in (source / place).iterdir()}
        write(source / place, rows, history)
        assert message in said(), message
        for path, content in kept.items():
            path.write_bytes(content)
    assert "--split time makes dev and test of validation; leave --test out" in said("--test", tmp_path)
    assert "history.parquet: there is no such file" in said("--split", "given", "--test", tmp_path)
    (source / "articles.parquet").write_bytes(b"no")
    assert "articles.parquet: not a readable Parquet file" in said()
    assert "articles.parquet: there is no such file" in said("--source", tmp_path)
    assert not list(tmp_path.glob("store*"))
