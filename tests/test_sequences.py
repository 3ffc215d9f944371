"""What callers give as a sequence is read by place, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from legorec.sequences import listed, texts, whole_numbers
from tests.support.labelled import Labelled


@pytest.mark.parametrize("made", [list, tuple, np.array, iter, lambda values: Labelled(values, [2, 0, 1])])
def test_values_are_taken_in_their_order(made):
    assert listed(made(["b", "a", "c"]), "items", "items") == ["b", "a", "c"]
    assert texts(made(["b", "a", "c"]), "items", "items") == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("ab", "`ids` must be a list of raw ids, got the text 'ab'"),
        (b"ab", "`ids` must be a list of raw ids, got the text b'ab'"),
        ({"a", "b"}, "`ids` must be a list of raw ids in an order, got a set"),
        ({"a": 1}, "`ids` must be a list of raw ids in an order, got a dict"),
        (np.array([["a"]]), "`ids` must be a list of raw ids in an order, got a ndarray"),
        (np.array("a"), "`ids` must be a list of raw ids in an order, got a ndarray"),
        (3, "`ids` must be a list of raw ids, got 3"),
        (None, "`ids` must be a list of raw ids, got None"),
        (["a", 3], r"`ids` must be a list of raw ids \(texts\), got 3 in it; as a raw id it is '3'"),
        (["a", 1.5], r"`ids` must be a list of raw ids \(texts\), got 1.5 in it$"),
        (["a", None], r"`ids` must be a list of raw ids \(texts\), got None in it$"),
    ],
)
def test_what_has_no_order_or_is_no_text_is_refused_by_name(given, message):
    with pytest.raises(ValueError, match=message):
        texts(given, "ids", "raw ids")


@pytest.mark.parametrize("made", [list, tuple, np.array, iter, lambda values: Labelled(values, [2, 0, 1])])
def test_rows_are_taken_in_their_order(made):
    found = whole_numbers(made([7, 5, 6]), "users", "rows")
    assert found.tolist() == [7, 5, 6] and found.dtype == np.int64


@pytest.mark.parametrize("wrong", [1.5, None, "1", True, np.float32(2), float("nan")])
def test_what_is_no_whole_number_is_named(wrong):
    with pytest.raises(ValueError, match=r"`users` must be a list of rows .whole numbers., got .* in it$"):
        whole_numbers([1, wrong], "users", "rows")
    with pytest.raises(ValueError, match="`users` must be a list of rows in an order, got a set"):
        whole_numbers({1, 2}, "users", "rows")
