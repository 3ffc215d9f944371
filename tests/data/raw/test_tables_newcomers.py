"""What a newcomer gets wrong in tables: no header, and ids that pandas made numbers with a point of."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import legorec
from legorec.data.raw.fields import lists_of, spelled
from process import add_users, tables
from tests.support.raw_files import made, refusal


def test_a_file_without_a_header_is_told_how_to_be_read(tmp_path: Path, capsys) -> None:
    rows = "".join(f"{k},story {k}\n" for k in range(1, 31))
    clicks = "".join(f"u{u},{(u * 7 + n) % 30 + 1}\n" for u in range(4) for n in range(4))
    (tmp_path / "items.csv").write_text(rows)
    (tmp_path / "named.csv").write_text("item,title\n" + rows)
    (tmp_path / "clicks.csv").write_text(clicks)

    def said(items: str, *more: str) -> str:
        argv = [
            "--items",
            tmp_path / items,
            "--interactions",
            tmp_path / "clicks.csv",
            "--text",
            "title",
            *more,
        ]
        return refusal(tables.main, [*argv, "--out", tmp_path / "s"], capsys)

    way = "; if its first line holds values and no names, say --no_header, and columns are called 1, 2, 3"
    assert said("items.csv").endswith(f"items.csv: there is no column 'title'; There are: 1, story 1{way}")
    assert said("named.csv").endswith(f"clicks.csv: there is no column 'user'; There are: u0, 1{way}")
    assert said("items.csv", "--no_header").endswith(
        "no column 'title'; There are: 1, 2; with --no_header columns are called 1, 2, 3 and so on"
    )
    source = ("--items", tmp_path / "items.csv", "--interactions", tmp_path / "clicks.csv", "--no_header")
    columns = ("--item_id", 1, "--text", "title=2", "--user", 1, "--item", 2, "--num_negatives", 5)
    assert len(made(tables.main, tmp_path / "s", *source, *columns).items) == 30


def test_whole_numbers_with_a_point_are_whole_numbers() -> None:
    values = [12.0, None, float("nan"), -3.0]
    assert spelled(pl.Series(values)).to_list() == ["12", None, None, "-3"]
    assert spelled(pl.Series([9.0, 1.5])).to_list() == ["9.0", "1.5"]
    assert spelled(pl.Series([1e300])).to_list() == ["1e+300"]
    lists = pl.DataFrame({"h": [[1.0, 2.0], [], [3.0, None]]})
    assert lists_of(lists, "h", "x", None).to_list() == [["1", "2"], [], ["3", None]]
    assert spelled(pl.Series([7, None])).to_list() == ["7", None]


@pytest.mark.parametrize("ending", ["frames", "parquet"])
def test_ids_meet_whether_or_not_a_value_is_missing(tmp_path: Path, ending: str) -> None:
    items = pl.DataFrame({"item": range(30), "title": [f"story {k}" for k in range(30)]})
    pairs = [(u, (u * 7 + n) % 30) for u in range(5) for n in range(4)]
    clicks = pl.DataFrame(pairs, schema=["user", "item"], orient="row")
    clicks = clicks.with_columns(pl.all().cast(pl.Float64))
    if ending == "frames":
        store = legorec.Store.from_frames(items, clicks, tmp_path / "s", text="title", num_negatives=5)
    else:
        items.write_parquet(tmp_path / "items.parquet")
        clicks.write_parquet(tmp_path / "clicks.parquet")
        files = ("--items", tmp_path / "items.parquet", "--interactions", tmp_path / "clicks.parquet")
        store = made(tables.main, tmp_path / "s", *files, "--text", "title", "--num_negatives", 5)
    assert sorted(store.users.ids) == [*"01234"] and store.manifest["dropped"]["rows"] == {}
    users = pl.DataFrame({"user": [0.0, 1.0, 2.0, 3.0, 4.0], "age": [20.0, 30.0, None, 40.0, 41.5]})
    users.write_parquet(tmp_path / "users.parquet")
    more = ("--users", tmp_path / "users.parquet", "--user_number", "age")
    add_users.main([str(part) for part in ("--store", tmp_path / "s", *more)])
    assert legorec.Store.open(tmp_path / "s").users.field_names == ("age",)
