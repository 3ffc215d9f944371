"""A table of users: every user once, ids in one spelling, values for those who are here."""

from __future__ import annotations

import polars as pl
import pytest

from legorec.data.store import StoreError
from legorec.data.writing.columns import Column
from legorec.data.writing.user_table import UserTable

COLUMNS = [Column("area", "category", "region"), Column("likes", "categories"), Column("age", "number")]
ROWS = {
    "user": ["u", "v", "w"],
    "region": ["north", None, "south"],
    "likes": [["a", "b"], [], ["b"]],
    "age": ["30", "", "41"],
    "name": ["not", "read", "at all"],
}


def table(rows: dict, repeats="refuse") -> UserTable:
    return UserTable.of(pl.DataFrame(rows), COLUMNS, "user", "users.csv", repeats)


def again(**changed) -> dict:
    """The rows, and that of ``w`` once more with some values changed."""
    return {name: [*values, changed.get(name, values[-1])] for name, values in ROWS.items()}


def values(read: UserTable, users: list[str], max_missing: float = 1.0) -> list[tuple]:
    frame, _ = read.of_users(pl.Series("id", users), max_missing)
    return list(zip(*(column.of(frame).to_list() for column in COLUMNS), strict=True))


def test_users_get_their_values_in_their_own_order():
    rows = values(table(ROWS), ["w", "x", "u"])
    assert rows == [("south", ["b"], "41"), (None, None, None), ("north", ["a", "b"], "30")]


def test_rows_of_others_are_counted():
    _, dropped = table(ROWS).of_users(pl.Series("id", ["u", "v"]), 0.0)
    assert dropped == {"rows of users.csv of users who are not here": 1}


def test_a_row_that_says_the_same_again_is_dropped_and_counted():
    read = table(again(name="another name, which is not read"))
    assert read.dropped == {"rows of users.csv that say the same of a user again": 1}
    assert values(read, ["w"]) == [("south", ["b"], "41")]


@pytest.mark.parametrize("changed", [{"region": "east"}, {"likes": ["c"]}, {"age": None}])
def test_rows_that_differ_are_refused_or_one_is_chosen(changed):
    with pytest.raises(StoreError, match=r"must have one row; 1 rows .* e\.g\. of 'w'; --user_repeats"):
        table(again(**changed))
    kept = {repeats: table(again(**changed), repeats) for repeats in ("first", "last")}
    assert (
        values(kept["first"], ["w", "u"])
        == values(table(ROWS), ["w", "u"])
        != values(kept["last"], ["w", "u"])
    )
    assert all(list(read.dropped.values()) == [1] for read in kept.values())


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
def test_a_share_of_users_may_be_without_a_row(share):
    users = ["u", "v", "w", "x", "y"]
    for count in range(1, 6):
        here, missing = users[:count], max(0, count - 3)
        if missing <= share * count:
            table(ROWS).of_users(pl.Series("id", here), share)
        else:
            rule = rf"users.csv: {missing} of {count} users have no row .* e\.g\. 'x'.*--max_missing"
            with pytest.raises(StoreError, match=rule):
                table(ROWS).of_users(pl.Series("id", here), share)


def test_no_row_of_any_user_is_refused_whatever_share_may_miss():
    with pytest.raises(StoreError, match=r"2 of 2 users .*'7'.* the table has 'u'"):
        table(ROWS).of_users(pl.Series("id", ["7", "8"]), 1.0)
    assert table(ROWS).of_users(pl.Series("id", [], dtype=pl.String), 0.0)[0].height == 0


@pytest.mark.parametrize(
    ("spelled", "how"),
    [
        ("{:06d}.0", "an ending .0"),
        (" {:06d}", "blanks"),
        ('"{:06d}"', "quotes"),
        ("{}", "leading zeros"),
    ],
)
def test_ids_in_another_spelling_are_shown_beside_each_other(spelled, how):
    numbers = range(10, 20)
    rows = {"user": [spelled.format(n) for n in numbers], "age": ["1"] * 10}
    read = UserTable.of(pl.DataFrame(rows), [Column("age", "number")], "user", "users.csv")
    with pytest.raises(StoreError) as error:
        read.of_users(pl.Series("id", [f"{n:06d}" for n in numbers]), 0.01)
    assert "'000010'" in str(error.value) and f"'{spelled.format(10)}'" in str(error.value)
    assert f"they differ in {how}" in str(error.value)


def test_capitals_are_a_spelling_and_other_ids_are_not():
    with pytest.raises(StoreError, match="differ in capitals"):
        table(ROWS).of_users(pl.Series("id", ["U", "V"]), 0.0)
    with pytest.raises(StoreError, match="have no row") as error:
        table(ROWS).of_users(pl.Series("id", ["a", "b"]), 0.0)
    assert "differ in" not in str(error.value)


def test_a_row_without_an_id_is_refused():
    rows = again() | {"user": ["u", "v", "w", None]}
    with pytest.raises(StoreError, match="1 of 4 rows have no id in 'user'"):
        table(rows)
