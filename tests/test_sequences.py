"""What callers give as a sequence is read by place, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from legorec.sequences import listed, texts
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
