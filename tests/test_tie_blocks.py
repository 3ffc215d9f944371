"""Blocks of equal score against a plain loop over the groups."""

from __future__ import annotations

from collections import defaultdict
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legorec.batch import Ranking
from legorec.tie_blocks import TieBlocks, checked, tie_blocks

SCORES = st.sampled_from([-np.inf, -1e30, -1.5, -0.0, 0.0, 1e-40, 0.5, 0.5 + 2**-24, 7.0, np.inf])
GROUPS = st.sampled_from([-(2**63), -5, 0, 3, 2**31, 2**63 - 1])
ROWS = st.lists(st.tuples(GROUPS, st.booleans(), SCORES), min_size=1, max_size=14)


def found(group: list, click: list[bool], score: list[float], dtype: type = np.float64) -> TieBlocks:
    return tie_blocks(np.array(group), np.array(click), np.array(score, dtype=dtype))


def by_hand(group: list, click: list[bool], score: list[float]) -> dict:
    """Rows and clicks of each group, and start, size, hits and clicks above of its blocks with a click."""
    result = {}
    for name in sorted(set(group)):
        blocks: dict[float, list[bool]] = defaultdict(list)
        for each, was, value in zip(group, click, score, strict=True):
            if each == name:
                blocks[value + 0.0].append(was)
        start, above, told = 0, 0, []
        for value in sorted(blocks, reverse=True):
            hits = sum(blocks[value])
            if hits:
                told.append((start, len(blocks[value]), hits, above))
            start, above = start + len(blocks[value]), above + hits
        result[name] = (start, above, told)
    return result


def told(blocks: TieBlocks) -> dict:
    parts = np.stack([blocks.start, blocks.size, blocks.hits, blocks.above], axis=1).tolist()
    owner = blocks.block_group.tolist()
    return {
        name: (rows, clicks, [tuple(part) for part, at in zip(parts, owner, strict=True) if at == place])
        for place, (name, rows, clicks) in enumerate(
            zip(blocks.group.tolist(), blocks.rows.tolist(), blocks.clicks.tolist(), strict=True)
        )
    }


@settings(max_examples=150)
@given(ROWS, st.sampled_from([np.float32, np.float64]))
def test_blocks_are_those_of_a_loop(rows: list[tuple[int, bool, float]], dtype: type) -> None:
    group, click, score = map(list, zip(*rows, strict=True))
    seen = [float(dtype(value)) for value in score]
    assert told(found(group, click, score, dtype)) == by_hand(group, click, seen)


def test_groups_may_be_names() -> None:
    click, score = [True, False, True, True], [1.0, 2.0, 2.0, 0.0]
    blocks = found(["b", "a", "b", "a"], click, score)
    assert told(blocks) == {"a": (2, 1, [(1, 1, 1, 0)]), "b": (2, 2, [(0, 1, 1, 0), (1, 1, 1, 1)])}
    assert blocks.longest == 2 and blocks.ranks().tolist() == [1, 2]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 1.0])), min_size=1, max_size=5))
def test_a_spread_weight_is_the_mean_over_all_orders_of_the_ties(rows: list[tuple[bool, float]]) -> None:
    click, score = map(list, zip(*rows, strict=True))
    weight = np.array([1.0, 0.5, 0.25])  # later ranks weigh nothing
    blocks = found([7] * len(rows), click, score)
    orders = [
        order
        for order in permutations(range(len(rows)))
        if all(score[a] >= score[b] for a, b in zip(order, order[1:], strict=False))
    ]
    sums = [sum(w for w, row in zip(weight, order, strict=False) if click[row]) for order in orders]
    assert blocks.spread(weight).sum() == pytest.approx(np.mean(sums))
    assert blocks.sum_by_group(blocks.spread(weight)) == pytest.approx([np.mean(sums)])


def test_the_first_block_with_a_click_of_each_group_that_has_one() -> None:
    blocks = found([1, 1, 1, 2, 3, 3], [False, True, True, False, True, True], [3, 2, 1, 5, 4, 4])
    position, start, size, hits = blocks.first_with_click()
    assert blocks.group[position].tolist() == [1, 3]
    assert (start.tolist(), size.tolist(), hits.tolist()) == ([1, 0], [1, 2], [1, 2])
    assert blocks.to_groups(position, np.array([0.5, 2.0])).tolist() == [0.5, 0, 2.0]


@pytest.mark.parametrize(
    ("group", "label", "score", "message"),
    [
        ([[1]], [[1]], [[1.0]], r"a ranking is flat, got shapes \(1, 1\), \(1, 1\) and \(1, 1\)"),
        ([], [], [], "the ranking is empty"),
        ([1], [1], [1], "`score` must be float32 or float64, got int64"),
        ([1, 1], [0, 1], [1.0, np.nan], "1 of 2 scores are NaN"),
        ([1, 1, 1], [0, 2, 3], [1.0, 1.0, 1.0], "labels must be 0 or 1, got 2 others, the first is 2"),
    ],
)
def test_what_cannot_be_ranked_is_refused(group: list, label: list, score: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked(Ranking(np.array(group), np.array(label), np.array(score)))
