"""Packed text behaves as the list that was packed."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from legorec.data.strings import Strings

TEXTS = st.lists(st.text("aé語😀\n \0", max_size=4), max_size=8)


@given(TEXTS)
def test_it_is_the_list_that_was_packed(texts: list[str]) -> None:
    packed = Strings.pack(pl.Series("id", texts, dtype=pl.String))
    assert len(packed) == len(texts) and list(packed) == texts
    assert [packed[row] for row in range(len(texts))] == texts
    assert packed.series("name").to_list() == texts and packed.series().name == "id"


@given(TEXTS, st.slices(8), st.data())
def test_parts_are_those_of_the_list(texts: list[str], part: slice, data: st.DataObject) -> None:
    packed = Strings.pack(pl.Series(texts, dtype=pl.String))
    assert packed[part] == texts[part]
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1))) if texts else []
    assert packed.take(rows) == [texts[row] for row in rows]


def test_what_is_missing_is_empty_and_numbers_are_written_out() -> None:
    assert list(Strings.pack(pl.Series(["a", None, ""]))) == ["a", "", ""]
    assert list(Strings.pack(pl.Series([None, None], dtype=pl.String))) == ["", ""]
    assert list(Strings.pack(pl.Series([3, 10]))) == ["3", "10"]
