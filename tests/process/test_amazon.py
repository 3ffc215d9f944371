"""Amazon reviews of three years: one core, one order in time, no leak; prices, repeats, malformed files."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from legorec.data.raw import lines
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.store_data import open_data
from legorec.settings import read_command_line
from process.amazon import main, number_of, text_of
from tests.process.test_goodreads import impressions, interrupted, liked, sees_nothing_of_later
from tests.support.raw_files import made, refusal
from tests.support.runs import ROOT
from tests.support.small_store import files

Row = dict[str, Any]
Click = tuple[str, str, int, int]  # user, item, stars, second
CORE = ("--core", 3, "--num_negatives", 4)
START = 1_500_000_000


def clicks(seed: int = 0, users: int = 30, items: int = 40) -> list[Click]:
    """Reviews at distinct moments; some users and items have too few."""
    rng = np.random.default_rng(seed)
    weight = np.arange(1, items + 1) / (items * (items + 1) / 2)
    rows = [
        (f"A{user:013d}", f"B{item:09d}", int(rng.integers(1, 6)))
        for user in range(users)
        for item in rng.choice(items, int(rng.integers(1, 20)), replace=False, p=weight)
    ]
    order = rng.permutation(len(rows))
    return [(*row, START + int(second)) for row, second in zip(rows, order, strict=True)]


def review(year: int, user: str, item: str, stars: int, second: int) -> Row:
    """A line of a file of reviews, with a text that imitates keys."""
    text = 'Said "overall": 1.0, "rating": 1.0 {and} left'
    if year == 2023:
        return {
            "rating": float(stars), "title": "Nice", "text": text, "images": [], "asin": f"V{item}",
            "parent_asin": item, "user_id": user, "timestamp": 1000 * second + 7, "helpful_vote": 0,
        }  # fmt: skip
    own = {"helpful": [2, 3]} if year == 2014 else {"vote": "5", "verified": True, "style": {"Size:": "L"}}
    return {
        "reviewerID": user, "asin": item, "reviewerName": "J.", **own, "reviewText": text,
        "overall": float(stars), "summary": "Nice", "unixReviewTime": second, "reviewTime": "09 13, 2009",
    }  # fmt: skip


def item(year: int, number: int, **others: Any) -> Row:
    """A line of a file of metadata."""
    key, title, brand = f"B{number:09d}", f'It\'s "no. {number}"', f"Brand {number % 3}"
    path = ["Toys & Games", f"Kind {number % 4}"]
    if year == 2014:
        row = {"asin": key, "salesRank": {"Toys": 5}, "imUrl": "http://x", "categories": [path, path[:1]],
               "title": title, "description": "For C:\\dogs", "price": 7.5, "brand": brand}  # fmt: skip
    elif year == 2018:
        row = {"category": path, "tech1": "", "description": ["For C:\\dogs"], "title": title, "also_buy": [],
               "brand": brand, "feature": ["Red", "Big"], "rank": [">#5 in Toys"], "main_cat": "Toys & Games",
               "date": "", "price": "$7.50", "asin": key}  # fmt: skip
    else:
        row = {"main_category": "Toys & Games", "title": title, "average_rating": 4.2, "rating_number": 15,
               "features": ["Red", "Big"], "description": ["For C:\\dogs"], "price": 7.5, "images": [],
               "store": brand, "categories": path, "details": {"Brand": "x"}, "parent_asin": key,
               "bought_together": None}  # fmt: skip
    return row | others


def write_lines(path: Path, rows: list[Row], year: int) -> Path:
    """Lines as JSON or, for the metadata of 2014, as Python prints its objects."""
    text = "".join((repr(row) if year == 2014 and "imUrl" in row else json.dumps(row)) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def raw(folder: Path, year: int, rows: list[Click], items: int = 40, end: str = "json.gz") -> tuple[Any, ...]:
    """The arguments that name the files."""
    reviews = [review(year, *row) for row in rows]
    meta = [item(year, number) for number in range(items)]
    paths = {"reviews": write_lines(folder / f"reviews_Toys.{end}", reviews, year)}
    paths["meta"] = write_lines(folder / f"meta_Toys.{end}", meta, year)
    return tuple(part for name, path in paths.items() for part in (f"--{name}", path))


def expected_core(rows: list[Click], least: int = 3, stars: int = 1) -> list[Click]:
    """The k-core of the clicks, one row at a time, by user and time."""
    rows = [row for row in rows if row[2] >= stars]
    while True:
        users, items = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
        kept = [row for row in rows if users[row[0]] >= least and items[row[1]] >= least]
        if len(kept) == len(rows):
            return sorted(kept, key=lambda row: (row[0], row[3]))
        rows = kept


@pytest.mark.parametrize("year", [2014, 2018, 2023])
def test_every_click_of_the_core_with_the_clicks_before_it(tmp_path: Path, year: int) -> None:
    rows = clicks()
    store = made(main, tmp_path / "store", *raw(tmp_path, year, rows), *CORE)
    kept, met = expected_core(rows), {row[:2] for row in rows}
    assert set(store.users.ids) == {row[0] for row in kept} < {row[0] for row in rows}
    assert set(store.items.ids) == {row[1] for row in kept} < {row[1] for row in rows}
    found = {split: impressions(store, split) for split in ("train", "dev", "test")}
    for user in store.users.ids:
        own = [row for row in kept if row[0] == user]
        shown = [each for split in found for each in found[split] if each[0] == user]
        assert [liked(each[2]) for each in shown] == [row[1] for row in own[1:]]
        assert [each[1] for each in shown] == [[row[1] for row in own[:n]] for n in range(1, len(own))]
        assert [each[3] for each in shown] == [row[3] for row in own[1:]], "seconds"
    assert all(len(labels) == 1 for _, _, labels, _ in found["train"])
    for split in ("dev", "test"):
        assert len(found[split]) == len(store.users)
        for user, _, labels, _ in found[split]:
            negatives = {(user, item) for item, label in labels.items() if not label}
            assert len(negatives) == 4 and not negatives & met
    sees_nothing_of_later(store)
    assert store.manifest["made_with"]["year"] == year
    assert store.manifest["dropped"]["rows"] == {
        "clicks outside the 3-core, or of no item": len(rows) - len(kept)
    }


def test_a_split_by_time(tmp_path: Path) -> None:
    rows = clicks()
    store = made(main, tmp_path / "store", *raw(tmp_path, 2018, rows), *CORE, "--split", "time")
    parts = [impressions(store, split) for split in ("train", "dev", "test")]
    kept, times = expected_core(rows), [[each[3] for each in part] for part in parts]
    assert max(times[0]) < min(times[1]) and max(times[1]) < min(times[2])
    for user, before, labels, when in sum(parts, []):
        assert before == [row[1] for row in kept if row[0] == user and row[3] < when]
        assert (user, liked(labels), when) in {(row[0], row[1], row[3]) for row in kept}
    assert [len(part) for part in parts] == [
        len(kept) - 2 * round(len(kept) / 10),
        *[round(len(kept) / 10)] * 2,
    ]
    assert store.manifest["made_with"]["shares"] == [0.8, 0.1, 0.1]


def test_the_lowest_rating_that_is_a_click(tmp_path: Path) -> None:
    rows = clicks()
    store = made(main, tmp_path / "store", *raw(tmp_path, 2014, rows), *CORE, "--min_rating", 3)
    kept = expected_core(rows, stars=3)
    assert set(store.items.ids) == {row[1] for row in kept}
    stars = {row[:2]: row[2] for row in rows}
    for split in ("train", "dev", "test"):
        for user, before, labels, _ in impressions(store, split):
            assert all(stars[user, item] >= 3 for item in [*before, liked(labels)])
            assert all((user, item) not in stars for item, label in labels.items() if not label)
    dropped = store.manifest["dropped"]["rows"]["reviews below --min_rating, which are no clicks"]
    assert dropped == sum(row[2] < 3 for row in rows)


def test_repeats(tmp_path: Path) -> None:
    rows, late = clicks(), START + 10_000
    user = expected_core(rows)[0][0]
    own = [row for row in expected_core(rows) if row[0] == user]
    again = [(*own[-1][:3], late), (*own[-1][:3], late), (*own[-1][:3], late + 1), (*own[0][:3], late + 2)]
    arguments, items = (*raw(tmp_path, 2018, rows + again), *CORE), [row[1] for row in own]
    for extra, expected in (([], [*items, items[-1], items[-1]]), (["--drop_repeats"], items)):
        store = made(main, tmp_path / f"store{len(extra)}", *arguments, *extra)
        _, before, labels, _ = next(each for each in impressions(store, "test") if each[0] == user)
        assert (before, liked(labels)) == (expected, items[0]), "what comes back later is no repeat"
        counted = store.manifest["dropped"]["rows"]
        assert counted["reviews that came again (same user, item and time)"] == 1
        assert counted.get("clicks on the same item again (--drop_repeats)", 0) == 2 * len(extra)


def test_three_years_give_the_same_fields(tmp_path: Path) -> None:
    rows = clicks()
    for year in (2014, 2018, 2023):
        store = made(main, tmp_path / f"{year}", *raw(tmp_path / f"raw{year}", year, rows), *CORE)
        row = store.items.index(["B000000039"])[0]
        assert store.items.text("title")[row] == 'It\'s "no. 39"'
        assert store.items.text("description")[row] == "For C:\\dogs"
        assert ("features" in store.items.text_names) is (year > 2014)
        assert year == 2014 or store.items.text("features")[row] == "Red Big"
        assert store.vocabulary("main_category") == ["Toys & Games"]
        kinds = [f"Kind {number}" for number in range(4)]
        assert store.vocabulary("categories") == [*kinds, "Toys & Games"]
        assert store.vocabulary("brand") == ["Brand 0", "Brand 1", "Brand 2"]
        assert store.items.field("price").rows[row].tolist() == [7.5]
        assert len(store.items.field("categories").rows[row]) == 2


def test_odd_metadata(tmp_path: Path) -> None:
    source = raw(tmp_path, 2018, clicks())
    odd = {
        39: {"title": "Loud &amp; &trade; \ud83d", "price": "$1.00 - $2.00", "category": ["<b></b>", "A"]},
        38: {"title": "var a; getTime();", "price": "", "brand": "", "description": [], "category": []},
        37: {"main_cat": '<img src="x" class="y" alt="AMAZON FASHION"/>', "price": "$12.50"},
    }
    meta = [item(2018, number, **odd.get(number, {})) for number in range(40)]
    write_lines(tmp_path / "meta_Toys.json.gz", [*meta, meta[39] | {"title": "Another"}, {"asin": ""}], 2018)
    store = made(main, tmp_path / "store", *source, *CORE)
    first, second, third = store.items.index(["B000000039", "B000000038", "B000000037"])
    titles = store.items.text("title")
    assert (titles[first], titles[second]) == ("Loud & ™ ?", "") and store.items.text("description")[
        second
    ] == ""
    prices = store.items.field("price").rows
    assert [prices[row].tolist() for row in (first, second, third)] == [[], [], [12.5]]
    assert store.vocabulary("main_category") == ["AMAZON FASHION", "Toys & Games"]
    assert [len(store.items.field("categories").rows[row]) for row in (first, second)] == [1, 0]
    assert len(store.items.field("brand").rows[second]) == 0
    counted = store.manifest["dropped"]["rows"]
    assert counted["prices that were no single number"] == counted["titles that were code"] == 1
    assert counted["items that came again (the first is kept)"] == counted["items without an id"] == 1


def test_prices_and_texts() -> None:
    for written, value in [(5, 5.0), ("$5", 5.0), ("$ .99", 0.99), ("1,000", 1000.0), ("$1,234.50", 1234.5)]:
        assert number_of(written) == value
    assert not any(number_of(each) for each in ("from 5", "—", "", None, float("nan"), [5], "$5 - $7"))
    assert text_of([" a ", "", None, ["b&lt;"]]) == "a b<" and text_of(None) == "" and text_of(5) == "5"


def test_the_store_depends_on_data_and_seed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = clicks()
    one = made(main, tmp_path / "one", *raw(tmp_path, 2023, rows), *CORE)
    monkeypatch.setattr(lines, "BLOCK", 1000)
    made(main, tmp_path / "two", *raw(tmp_path / "raw", 2023, rows[::-1], end="jsonl"), *CORE)
    assert files(tmp_path / "one") == files(tmp_path / "two"), "gzip or not, in any order, in any blocks"
    other = made(main, tmp_path / "other", *raw(tmp_path, 2023, rows), *CORE, "--seed", 1)
    assert other.digest != one.digest and impressions(other, "train") == impressions(one, "train")
    parts = [tmp_path / f"{n}.jsonl" for n in (0, 1)]
    for n, path in enumerate(parts):
        write_lines(path, [review(2023, *row) for row in rows[n::2]], 2023)
    meta = tmp_path / "meta_Toys.json.gz"
    assert made(main, tmp_path / "parts", "--reviews", *parts, "--meta", meta, *CORE).digest == one.digest


def test_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = clicks()
    old, new, oldest = (raw(tmp_path / f"{year}", year, rows, end="json") for year in (2018, 2023, 2014))
    reviews, meta = old[1], old[3]

    def said(first: Path, second: Path, *extra: Any) -> str:
        arguments = ["--reviews", first, "--meta", second, "--out", tmp_path / "store", *CORE, *extra]
        return refusal(main, arguments, capsys)

    def bad(source: Path, line: str) -> Path:
        (tmp_path / "bad").write_text("".join(source.read_text().splitlines(True)[:1]) + line)
        return tmp_path / "bad"

    packed = gzip.compress(reviews.read_bytes())
    (tmp_path / "cut.gz").write_bytes(packed[:-40])
    trap = tmp_path / "trap"
    for problem, message in [
        (said(meta, reviews), "these are not reviews: their lines hold 'reviewerID' or 'user_id'"),
        (said(reviews, reviews), "this is not metadata: its lines hold 'asin' or 'parent_asin', no rating"),
        (said(new[1], meta), "is of 2023 and"),
        (said(reviews, new[3]), "of 2023; take both of one year"),
        (said(reviews, meta, "--meta", meta, oldest[3]), "take those of one year"),
        (said(bad(reviews, '{"reviewerID": "A"}'), meta), "bad: line 2: it must hold reviewerID, asin,"),
        (said(bad(reviews, json.dumps(review(2018, "A", "B", 5, 5) | {"overall": "5 of 5"})), meta),
         "bad: line 2: overall must be a number, got '5 of 5'"),
        (said(reviews, bad(meta, "{")), "bad: line 2: it must be a JSON object, or a Python literal"),
        (said(oldest[1], bad(oldest[3], f"{{'asin': open({str(trap)!r}, 'w')}}")), "bad: line 2: it must be"),
        (said(tmp_path / "cut.gz", meta), "cut.gz: cannot be read"),
        (said(tmp_path / "nowhere", meta), "nowhere: there is no such file"),
        (said(reviews, meta, "--core", 1), "`core` must be at least 2, got 1"),
        (said(reviews, meta, "--core", 30), "no user and no item has 30 others; lower --core"),
        (said(reviews, meta, "--num_negatives", 40), "`num_negatives` must be at most"),
        (said(reviews, bad(meta, "")), "item ids (reviews) are in no table"),
    ]:  # fmt: skip
        assert message in problem, (message, problem)
    assert not trap.exists() and not list(tmp_path.glob("store*")), "what is read is never run"
    write_lines(meta, [item(2018, number) for number in range(39)], 2018)
    store = made(main, tmp_path / "store", *old, *CORE, "--max_missing", 1)
    left = expected_core([row for row in rows if row[1] != "B000000039"])
    assert set(store.items.ids) == {row[1] for row in left}, "the core is one of items with metadata"


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    interrupted(main, tmp_path, *raw(tmp_path, 2023, clicks()), *CORE)


def test_the_fields_of_celas_click_model_are_read(tmp_path: Path) -> None:
    reviews = write_lines(tmp_path / "reviews.json", [review(2018, *row) for row in clicks()], 2018)
    meta = [item(2018, number, price=f"${number + 1}.00") for number in range(40)]
    files = ("--reviews", reviews, "--meta", write_lines(tmp_path / "meta.json", meta, 2018))
    store = made(main, tmp_path / "store", *files, *CORE)
    layers = {"data": "data/cela-amazon", "model": "model/cela-din", "exp": "exp/cela-clicks"}
    argv = [part for name, file in layers.items() for part in (f"--{name}", f"{ROOT}/config/{file}.yaml")]
    settings = read_command_line([*argv, "--data.store", str(store.path)])
    data = open_data(settings, ["train"])
    kinds = {part.name: part.kind for part in data.catalog.fields}
    assert kinds == {"categories": "categories", "brand": "category", "price": "number"}
    price = [part.kind for part in data.catalog.fields].index("number")
    prices = data.store.items.field("price").rows.values
    scaled = data.catalog.fields[price].standardised(prices)
    assert scaled.min() == 0.0 and scaled.max() == 1.0
    model = build_model(settings, data, torch.device("cpu")).eval()
    assert model.encode_items(torch.arange(data.num_items)).isfinite().all()
