"""Sessions of KDD Cup 2023: arrays as numpy prints them, one locale, one example a session."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from process.amazon_m2 import main
from tests.support.raw_files import candidates, history, made, refusal

COLUMNS = ["id", "locale", "title", "price", "brand", "color", "size", "model", "material", "author", "desc"]
NUM_PRODUCTS, NUM_SESSIONS = 60, 50


def write_csv(path: Path, rows: list[list[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def product(number: int, locale: str = "UK") -> list[str]:
    seldom = "red" if number % 2 else ""
    return [
        f"B{number:09d}",
        locale,
        f'A "good" tin, no. {number}',
        "9.5",
        "Acme",
        seldom,
        "",
        "",
        "",
        "",
        "",
    ]


@pytest.fixture
def raw(tmp_path: Path) -> list[Any]:
    """The arguments of two files; a session of DE and one of 30 items are in them."""
    products = [COLUMNS, *map(product, range(NUM_PRODUCTS)), product(0, "DE")]
    rng = np.random.default_rng(0)
    sessions: list[list[Any]] = [["prev_items", "next_item", "locale"]]
    for number in range(NUM_SESSIONS):
        length = 30 if number == 0 else int(rng.integers(9, 26))
        items = np.array([f"B{item:09d}" for item in rng.permutation(NUM_PRODUCTS)[: length + 1]])
        sessions.append([str(items[:-1]), items[-1], "DE" if number == 1 else "UK"])
    assert "\n" in sessions[1][0], "numpy breaks long lines"
    files = [write_csv(tmp_path / "products.csv", products), write_csv(tmp_path / "sessions.csv", sessions)]
    return ["--products", files[0], "--sessions", files[1], "--shares", "0.6,0.2,0.2"]


def spelled(raw: list[Any], session: str) -> list[str]:
    with raw[3].open(newline="", encoding="utf-8") as file:
        row = [*csv.reader(file)][int(session[1:])]
    return [*row[0].replace("[", " ").replace("]", " ").replace("'", " ").split(), row[1]]


def test_a_session_is_a_user_with_one_example(raw: list[Any], tmp_path: Path) -> None:
    store = made(main, tmp_path / "store", *raw)
    assert len(store.items) == NUM_PRODUCTS, "those of other locales are left out"
    seen: list[int] = []
    for split, others in (("train", 0), ("dev", 20), ("test", 20)):
        table = store.interactions(split)
        seen += table.user.tolist()
        for row in range(len(table)):
            *before, click = spelled(raw, store.users.ids[int(table.user[row])])
            assert history(store, split, row) == before and 10 <= len(before) <= 25
            shown = candidates(store, split, row)
            assert len(shown) == 1 + others and [item for item, label in shown.items() if label] == [click]
            assert not set(before) & set(shown)
    assert len(seen) == len(set(seen)) > 30
    few = made(main, tmp_path / "few", *raw, "--num_users", 10)
    assert [len(few.interactions(split)) for split in ("train", "dev", "test")] == [6, 2, 2]


def test_a_sentence_is_what_is_known(raw: list[Any], tmp_path: Path) -> None:
    store = made(main, tmp_path / "store", *raw)
    said = store.items.text("sentence").take([0, 1])
    assert said[0] == 'id: B000000000; title: A "good" tin, no. 0; price: 9.5; brand: Acme'
    assert said[1].endswith("brand: Acme; color: red")
    assert store.items.field("price").rows[0].tolist() == [9.5]


def test_bad_files_are_refused(raw: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*raw, "--out", tmp_path / "store"]
    assert "no product is of the locale 'US'" in refusal(main, [*words, "--locale", "US"], capsys)
    assert "(--history_lengths)" in refusal(main, [*words, "--history_lengths", "40,50"], capsys)
    assert "a least of at least 1" in refusal(main, [*words, "--history_lengths", "0"], capsys)
    write_csv(raw[3], [["prev_items", "next_item", "locale"], ["B000000001", "B000000002", "UK"]])
    assert "must be an array as in ['B000' 'B001']; session 1" in refusal(main, words, capsys)
    write_csv(raw[3], [["prev_items", "locale"], ["[]", "UK"]])
    assert "no column 'next_item'" in refusal(main, words, capsys)
