"""Ids that are in no table: counted by split and place, refused above a share, all places at once."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from legorec.data.store import StoreError
from legorec.data.writing.missing import MissingIds


def counted(max_missing: float, **places: list[int]) -> MissingIds:
    missing = MissingIds(max_missing)
    for place, rows in places.items():
        for half in (rows[:2], rows[2:]):  # in chunks, as they come
            missing.add("train", place, np.array(half), pl.Series([f"{place}{row}" for row in half]))
    return missing


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_up_to_the_share_is_taken(share):
    for unknown in range(5):
        missing = counted(share, user=[-1] * unknown + [0] * (4 - unknown))
        if unknown <= 4 * share:
            missing.check()
        else:
            with pytest.raises(StoreError, match=rf"^{unknown} of 4 user \(train\) are in no table"):
                missing.check()


@pytest.mark.parametrize(
    ("missing", "known", "message"),
    [
        ("9", "0000000009", "which the table spells '0000000009': they differ in leading zeros"),
        ("9.0", "9", "which the table spells '9': they differ in an ending .0"),
        (" 9", "9", "which the table spells '9': they differ in blanks"),
        ('"b9"', "b9", "which the table spells 'b9': they differ in quotes"),
        ("B9", "b9", "which the table spells 'b9': they differ in capitals"),
        ("9.0", "09", "which the table spells '09': they differ in an ending .0 and leading zeros"),
        ("x", "b9", "and the table has 'b9'"),
        ("9.5", "9", "and the table has '9'"),
    ],
)
def test_ids_spelt_otherwise_are_shown_on_both_sides(missing, known, message):
    found = MissingIds(0)
    ids = pl.Series(["gone", missing])
    found.add("train", "item ids", np.array([-1, -1]), ids, pl.Series([known, "b10"]), "log.csv")
    with pytest.raises(StoreError) as told:
        found.check()
    shown = missing if "spells" in message else "gone"
    assert str(told.value).startswith(
        f"log.csv: 2 of 2 item ids (train) are in no table (100.0%), e.g. '{shown}', {message}."
    )


def test_all_places_are_told_with_an_example_and_the_flag():
    missing = counted(0.1, user=[0, 1, -1], history=[-1, -1], candidates=[3])
    with pytest.raises(StoreError) as told:
        missing.check()
    assert str(told.value) == (
        "1 of 3 user (train) are in no table (33.3%), e.g. 'user-1'; 2 of 2 history (train) are in no table "
        "(100.0%), e.g. 'history-1'. At most 0.1 of them may be missing (--max_missing)"
    )
    assert missing.manifest()["train"] == {
        "candidates": {"missing": 0, "of": 1},
        "history": {"missing": 2, "of": 2},
        "user": {"missing": 1, "of": 3},
    }


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_lies_between_0_and_1(share):
    with pytest.raises(StoreError, match="`max_missing` must lie between 0 and 1, got "):
        MissingIds(share)
