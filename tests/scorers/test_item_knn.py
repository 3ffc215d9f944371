"""The neighbours of items beside sets of users; counted in blocks as at once."""

from __future__ import annotations

import math

import numpy as np
import pytest

from legorec.data.clicks import TrainingClicks
from legorec.scorers import item_knn
from legorec.scorers.item_knn import ItemKNNBaseline, neighbours
from tests.support import small
from tests.support.ranking import rank


def users_of(clicks: TrainingClicks) -> list[set[int]]:
    found: list[set[int]] = [set() for _ in range(small.NUM_ITEMS)]
    for key in clicks.known.keys.tolist():
        found[key % small.NUM_ITEMS].add(key // small.NUM_ITEMS)
    return found


def cosine(one: set[int], other: set[int]) -> float:
    return len(one & other) / math.sqrt(len(one) * len(other)) if one and other else 0.0


def nearest(users: list[set[int]], item: int, count: int) -> dict[int, float]:
    """The neighbours of an item, nearest first, of equal ones the first."""
    every = {other: cosine(users[item], users[other]) for other in range(len(users)) if other != item}
    return dict(
        sorted((pair for pair in every.items() if pair[1]), key=lambda pair: (-pair[1], pair[0]))[:count]
    )


@pytest.mark.parametrize("count", [1, 5, 100])
def test_scores_are_the_mean_similarity_of_the_history(count):
    clicks, data, wanted = small.training_clicks(count=30), small.impressions(), []
    users = users_of(clicks)
    near = [nearest(users, item, count) for item in range(small.NUM_ITEMS)]
    for number in range(len(data)):
        span = data.interactions.span[number]
        clicked = data.histories.clicks[data.histories.starts[span] : data.histories.stops[span]].tolist()
        for item in data.interactions.candidates[number].tolist():
            wanted.append(sum(near[item].get(each, 0.0) for each in clicked) / max(1, len(clicked)))
    assert np.allclose(rank(ItemKNNBaseline(clicks, count), data, batch_size=9).score, wanted, atol=1e-6)
    assert max(wanted) > 0 and any(not each for each in near), "some items have no neighbour"


@pytest.mark.parametrize("pairs", [1, 40])
def test_blocks_of_items_find_what_all_at_once_do(monkeypatch, pairs):
    known = small.training_clicks().known
    whole = neighbours(known, 7)
    monkeypatch.setattr(item_knn, "PAIRS", pairs)
    for one, other in zip(whole, neighbours(known, 7), strict=True):
        assert np.array_equal(one, other)
    assert (whole[0] >= 0).any()


def test_without_a_training_click_nothing_has_a_neighbour():
    known = small.training_clicks().known
    known.keys = known.keys[:0]
    found, similarity = neighbours(known, 3)
    assert (found == -1).all() and not similarity.any()
