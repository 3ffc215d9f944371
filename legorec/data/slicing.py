"""Ways to cut a split by what training has seen of its clicked items and of its users."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from legorec.data.clicks import TrainingClicks
from legorec.data.evaluation import Impressions
from legorec.data.ragged import Ragged
from legorec.slices import Slicing

NOWHERE = -1  # the place of a click that is in no part


def by_popularity(
    data: Impressions,
    training: TrainingClicks,
    edges: Sequence[int],
    among: np.ndarray | None = None,
    name: str = "popularity",
) -> Slicing:
    """By how many users clicked the clicked item in the training data, as the popularity baseline counts.

    Args:
        edges: where the parts after the first begin: [1, 5] are 0, 1 to 4, and 5 and more.
        among: (N,) True for items whose clicks are in the parts; None: all.
    """
    items = data.interactions.candidates.values
    place = _place(training.known.counts()[items], edges)
    if among is not None:
        place = np.where(among[items], place, NOWHERE)
    return Slicing(name, _of_clicks(data, place, names(edges)))


def by_cold_items(data: Impressions, training: TrainingClicks) -> Slicing:
    """Clicked items that nobody clicked in the training data, and the others."""
    known = training.known.counts()[data.interactions.candidates.values] > 0
    return Slicing("cold_items", _of_clicks(data, known.astype(np.int8), ["cold", "known"]))


def by_history(data: Impressions, edges: Sequence[int]) -> Slicing:
    """By the clicks that are stored before the impression, before ``history.max_length`` cuts them.

    Args:
        edges: see ``by_popularity``.
    """
    lengths = data.histories.whole().lengths[data.interactions.span]
    return Slicing("history", _of_impressions(data, _place(lengths, edges), names(edges)))


def by_cold_users(data: Impressions, training: TrainingClicks) -> Slicing:
    """Impressions of users without a click in the training data, and the others."""
    known = training.known.users()
    place = np.isin(data.interactions.user, known).astype(np.int8)
    return Slicing("cold_users", _of_impressions(data, place, ["cold", "known"]))


def by_item_field(data: Impressions, name: str, values: Ragged, categories: Sequence[str]) -> Slicing:
    """By a category of the candidates, such as the data set that each is from.

    Each row goes where its item does, so that every part is ranked on its own.

    Args:
        values: (num_items rows) ids of categories; an item with several is in the part of each, one without
            any in none.
        categories: their names.
    """
    rows = values.take(np.asarray(data.interactions.candidates.values))
    found = {part: np.unique(rows.rows[rows.values == number]) for number, part in enumerate(categories)}
    return Slicing(name, found)


def names(edges: Sequence[int]) -> list[str]:
    """[1, 5] are the parts 0, 1 to 4, and 5 and more."""
    starts, lasts = [0, *edges], [edge - 1 for edge in edges]
    closed = [
        f"{start}" if start == last else f"{start} to {last}"
        for start, last in zip(starts[:-1], lasts, strict=True)
    ]
    return [*closed, f"{starts[-1]} and more"]


def _place(counts: np.ndarray, edges: Sequence[int]) -> np.ndarray:
    return np.searchsorted(np.asarray(edges, dtype=np.int64), counts, side="right").astype(np.int8)


def _of_impressions(data: Impressions, place_I: np.ndarray, parts: Sequence[str]) -> dict[str, np.ndarray]:
    """Each row goes where its impression does."""
    place = np.repeat(place_I, data.interactions.candidates.lengths)
    return {name: np.flatnonzero(place == number) for number, name in enumerate(parts)}


def _of_clicks(data: Impressions, place_R: np.ndarray, parts: Sequence[str]) -> dict[str, np.ndarray]:
    """Each click goes to its part, together with what was not clicked in its group.

    So the clicks of one group may lie in several parts, and none is ranked beside those of another part.
    """
    clicked = data.interactions.labels == 1
    code = _codes(data.group)
    found = {}
    for number, name in enumerate(parts):
        own = clicked & (place_R == number)
        having = np.zeros(int(code.max(initial=-1)) + 1, dtype=bool)
        having[code[own]] = True
        found[name] = np.flatnonzero(own | (~clicked & having[code]))
    return found


def _codes(group: np.ndarray) -> np.ndarray:
    """The groups of all rows as numbers from 0; those of impressions come in order and need no sort."""
    if (group[1:] >= group[:-1]).all():
        return np.cumsum(np.diff(group, prepend=group[:1]) != 0)
    return np.unique(group, return_inverse=True)[1].reshape(-1)
