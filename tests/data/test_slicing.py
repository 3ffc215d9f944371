"""Slices beside a loop over impressions and candidates: what belongs where, counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from legorec.data import slicing
from legorec.data.clicks import TrainingClicks
from legorec.data.evaluation import Impressions
from legorec.data.ragged import Ragged
from legorec.slices import Slicing
from tests.support import small


@pytest.fixture
def training() -> TrainingClicks:
    """Few impressions, so that many items and some users are cold."""
    return small.training_clicks(count=12)


def known_clicks(training: TrainingClicks) -> set[tuple[int, int]]:
    """(user, item) of every click that training may see."""
    table, histories, found, row = training.interactions, training.histories.whole(), set(), 0
    for number, user in enumerate(table.user.tolist()):
        start, stop = histories.spans[table.span[number]]
        found |= {(user, item) for item in histories.clicks[start:stop].tolist()}
        for item in table.candidates[number].tolist():
            if table.labels[row]:
                found.add((user, item))
            row += 1
    return found


def by_hand(data: Impressions, part_of_click, part_of_impression) -> dict[str, list[int]]:
    """Rows by part, from a part of each clicked item or of each impression."""
    table, groups, row = data.interactions, data.group.tolist(), 0
    rows: list[tuple[int, int, int]] = []
    for number in range(len(table)):
        for item in table.candidates[number].tolist():
            rows.append((number, item, row))
            row += 1
    if part_of_impression is not None:
        return _sorted((part_of_impression(number), row) for number, _, row in rows)
    parts = {groups[row]: set() for _, _, row in rows}
    for _, item, row in rows:
        if table.labels[row]:
            parts[groups[row]].add(part_of_click(item))
    found = []
    for _, item, row in rows:
        own = {part_of_click(item)} if table.labels[row] else parts[groups[row]]
        found += [(part, row) for part in own]
    return _sorted(found)


def _sorted(pairs) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for part, row in pairs:
        found.setdefault(part, []).append(row)
    return {part: sorted(rows) for part, rows in found.items()}


def parts_of(found: Slicing) -> dict[str, list[int]]:
    return {part: rows.tolist() for part, rows in found.parts.items() if len(rows)}


@pytest.mark.parametrize("group_by", ["impression", "user"])
def test_clicks_go_where_their_items_do_and_take_what_was_not_clicked_along(training, group_by):
    table, stored = small.interactions(seed=0)
    data = Impressions(table, stored, small.NUM_ITEMS, group_by)
    counts = np.zeros(small.NUM_ITEMS, int)
    for _, item in known_clicks(training):
        counts[item] += 1

    def popularity(item: int) -> str:
        return ["0", "1", "2 to 3", "4 and more"][sum(counts[item] >= edge for edge in (1, 2, 4))]

    found = slicing.by_popularity(data, training, [1, 2, 4])
    assert list(found.parts) == ["0", "1", "2 to 3", "4 and more"] and found.name == "popularity"
    assert parts_of(found) == by_hand(data, popularity, None)
    cold = slicing.by_cold_items(data, training)
    assert parts_of(cold) == by_hand(data, lambda item: "known" if counts[item] else "cold", None)
    clicks = np.concatenate([rows[table.labels[rows] == 1] for rows in found.parts.values()])
    assert sorted(clicks) == np.flatnonzero(table.labels).tolist(), "each click is in one part"
    several = [
        group for group, clicked in _clicks_of(data).items() if len({popularity(i) for i in clicked}) > 1
    ]
    assert several, "groups with clicks in several parts"


def _clicks_of(data: Impressions) -> dict[int, list[int]]:
    items, labels = data.interactions.candidates.values.tolist(), data.interactions.labels.tolist()
    found: dict[int, list[int]] = {}
    for group, item, label in zip(data.group.tolist(), items, labels, strict=True):
        found.setdefault(group, []).extend([item] * label)
    return found


@pytest.mark.parametrize("group_by", ["impression", "user"])
def test_impressions_go_where_their_history_and_their_user_do(training, group_by):
    table, stored = small.interactions(seed=0)
    data = Impressions(table, stored, small.NUM_ITEMS, group_by)
    assert stored.lengths.max() < stored.whole().lengths.max(), "some histories are cut"

    def history(number: int) -> str:
        start, stop = stored.spans[table.span[number]]
        return ["0", "1 to 6", "7 and more"][sum(stop - start >= edge for edge in (1, 7))]

    users = {user for user, _ in known_clicks(training)}

    def user(number: int) -> str:
        return "known" if int(table.user[number]) in users else "cold"

    assert parts_of(slicing.by_history(data, [1, 7])) == by_hand(data, None, history)
    assert parts_of(slicing.by_cold_users(data, training)) == by_hand(data, None, user)
    assert len({user(number) for number in range(len(table))}) == 2


def test_without_training_clicks_all_is_cold_and_a_part_may_be_empty(training):
    data = small.impressions()
    none = replace(
        training.interactions,
        user=training.interactions.user[:0],
        span=training.interactions.span[:0],
        candidates=Ragged.from_lists([]),
        labels=training.interactions.labels[:0],
    )
    empty = TrainingClicks(none, training.histories, small.NUM_ITEMS)
    for found in (slicing.by_cold_items(data, empty), slicing.by_cold_users(data, empty)):
        assert len(found.parts["cold"]) and not len(found.parts["known"])
    nothing = Impressions(none, training.histories, small.NUM_ITEMS)
    assert parts_of(slicing.by_popularity(nothing, training, [1])) == {}


@pytest.mark.parametrize(
    ("edges", "names"),
    [
        ([1], ["0", "1 and more"]),
        ([5, 20], ["0 to 4", "5 to 19", "20 and more"]),
        ([1, 2, 9], ["0", "1", "2 to 8", "9 and more"]),
    ],
)
def test_parts_are_called_after_their_edges(edges, names):
    assert slicing.names(edges) == names


def test_popularity_among_some_items_has_their_clicks_alone(training: TrainingClicks) -> None:
    data = small.impressions()
    among = np.arange(training.num_items) % 2 == 0
    every = slicing.by_popularity(data, training, [1, 2])
    some = slicing.by_popularity(data, training, [1, 2], among, "popularity of even ones")
    table = data.interactions
    clicked = table.labels == 1
    assert some.name == "popularity of even ones" and set(some.parts) == set(every.parts)
    kept = 0
    for part, rows in some.parts.items():
        clicks = rows[clicked[rows]]
        whole = every.parts[part][clicked[every.parts[part]]]
        assert np.array_equal(clicks, whole[among[table.candidates.values[whole]]])
        kept += len(clicks)
    assert kept == int((clicked & among[table.candidates.values]).sum()) > 0


def test_by_a_category_of_the_candidates_each_row_goes_where_its_item_does() -> None:
    data = small.impressions()
    kinds = [[item % 3] if item % 3 < 2 else [] for item in range(data.num_items)]  # a third has none
    kinds[0] = [0, 1]
    found = slicing.by_item_field(data, "kind", Ragged.from_lists(kinds), ["even", "odd", "never"])
    items = np.asarray(data.interactions.candidates.values).tolist()
    for number, part in enumerate(["even", "odd", "never"]):
        assert found.parts[part].tolist() == [row for row, item in enumerate(items) if number in kinds[item]]
    assert found.name == "kind" and len(found.parts["even"]) and not len(found.parts["never"])
