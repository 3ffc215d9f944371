"""What columns of a table may become: read as meant, or refused with file, column and line."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from legorec.data.raw.fields import fields_of, lists_of, texts_of
from legorec.data.raw.lines import InputError
from legorec.data.raw.readers import LINE
from legorec.data.writing.columns import Column

OBJECTS = [[{"name": "x", "n": 1}], []]


def field(kind: Any, values: list, separator: str | None = " ") -> list:
    frame = pl.DataFrame({"x": values}, strict=False)
    made, fields = fields_of(frame, [Column("a", kind, "x")], "t.csv", separator)
    return made[fields[0].source].to_list()


def test_lists_as_texts_and_as_categories() -> None:
    assert field("text", [["red and", None, "big"], [], None]) == ["red and big", "", None]
    assert field("text", [[1, 2], [3]]) == ["1 2", "3"]
    assert field("categories", [["a b", "c"], []]) == [["a b", "c"], []]
    assert field("categories", ["a b  c", ""]) == [["a", "b", "c"], []]
    assert field("categories", ['["a b", "c"]', "", None, "[]"]) == [["a b", "c"], None, None, []]
    assert field("categories", ["[1] a", "[x]"]) == [["[1]", "a"], ["[x]"]], "not all are lists"


def test_two_fields_of_one_column() -> None:
    columns = [Column("a", "text", "x"), Column("b", "categories", "x"), Column("x", "text")]
    made, fields = fields_of(pl.DataFrame({"x": [["p", "q r"]]}), columns, "t.csv")
    values = [made[each.source].to_list() for each in fields]
    assert values == [["p q r"], [["p", "q r"]], ["p q r"]] and made["x"].to_list() == [["p", "q r"]]


def test_numbers_may_be_missing() -> None:
    assert field("number", ["1.5", "", None, " "]) == [1.5, None, None, None]
    assert field("number", [1, None]) == [1.0, None]


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("text", OBJECTS, "column 'x' must hold single values to be a text, it holds lists of objects"),
        ("text", [{"a": 1}], "column 'x' must hold single values to be a text, it holds objects"),
        ("text", [[["a"]]], "it holds lists of lists"),
        ("text", [b"\xff"], "column 'x' must hold texts to be a text, it holds Binary"),
        ("categories", OBJECTS, "must hold lists of texts or numbers, it holds lists of objects"),
        ("category", [["a"]], "to be a category, it holds lists; for lists there are categories"),
        ("number", [[1.0]], "column 'x' must hold numbers, it holds lists"),
        ("number", [1.0, "a", "b"], "column 'x' must hold numbers: 2 of 3 values are none, e.g. 'a' in row"),
        ("number", ["1e39"], "must hold numbers: 1 of 1 values are none"),
        ("categories", ["['a', 'b']"], "row 1: column 'x' holds a list as a program prints it, ['a', 'b']"),
        ("categories", ['["a"]', "['a' 'b']"], "row 2: column 'x' holds a list as a program prints it"),
    ],
)  # fmt: skip
def test_what_a_field_cannot_be_is_refused_by_name(kind: Any, values: list, message: str) -> None:
    with pytest.raises(InputError) as refused:
        field(kind, values)
    assert str(refused.value).startswith("t.csv: ") and message in str(refused.value)


def test_lines_are_told_where_they_are_known() -> None:
    frame = pl.DataFrame({"x": ["1", "one", "[a]"], "y": ["[1]", "[2]", "[b c]"], LINE: [2, 5, 9]})
    with pytest.raises(InputError, match=r"^t\.csv: line 5: x must be a number or empty, got 'one'; 2 malf"):
        fields_of(frame, [Column("x", "number")], "t.csv")
    with pytest.raises(InputError, match=r"^t\.csv: line 9: column 'y' holds a list as a program prints it"):
        lists_of(frame, "y", "t.csv", " ")
    with pytest.raises(InputError, match=r"t\.csv: there is no column 'z'"):
        fields_of(frame, [Column("z", "number")], "t.csv")


def test_ids_are_single_values() -> None:
    frame = pl.DataFrame({"n": [1, 2], "f": [9.0, 1.5], "l": [["a"], ["b"]]})
    assert texts_of(frame, "n", "t.csv").to_list() == ["1", "2"]
    assert texts_of(frame, "f", "t.csv").to_list() == ["9.0", "1.5"]
    with pytest.raises(InputError, match=r"t\.csv: column 'l' must hold single values to be ids, it"):
        texts_of(frame, "l", "t.csv")


def test_texts_are_not_split_where_ids_hold_the_separator() -> None:
    frame = pl.DataFrame({"h": ["1 2", "1"]})
    assert lists_of(frame, "h", "t.csv", " ", pl.Series(["1", "2"])).to_list() == [["1", "2"], ["1"]]
    with pytest.raises(InputError, match=r"t\.csv: column 'h' holds lists as texts, split at ' ', and ids"):
        lists_of(frame, "h", "t.csv", " ", pl.Series(["1", "1 2"]))
    lists = pl.DataFrame({"h": ['["1 2"]']})
    assert lists_of(lists, "h", "t.csv", " ", pl.Series(["1 2"])).to_list() == [["1 2"]]
