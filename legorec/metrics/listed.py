"""List metrics: what the first k items of the lists are like, whatever was clicked.

Lists are those of ``Ranking.lists``; where fewer than k items are left, all of these count. Items that tie
stand in the order of the catalogue. A list for which a metric is not defined is skipped and counted. Figures
of all lists at once, such as ``coverage``, are pooled.

In formulas ``L`` is a list, ``n`` its length, ``c_i`` how many users clicked item i in training, of ``U``
users with a click there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from legorec.item_lists import ItemFacts, ItemLists

ALPHA = 0.01  # the share of the history in what a list is compared with, see ``_calibration``
CELLS = 1 << 22  # numbers that are dense at a time

Needs = Literal["", "clicks", "categories", "vectors"]


@dataclass(frozen=True)
class ListKind:
    """One list metric.

    Args:
        values: lists cut at k -> (G,) a value for each, NaN where it is not defined; of a pooled one (G, W),
            of which ``pool`` makes one.
        needs: the field of ``ItemFacts`` that it reads.
        least: the smallest k.
    """

    values: Callable[[ItemLists], np.ndarray]
    needs: Needs = ""
    higher_is_better: bool = True
    least: int = 1
    pool: Callable[[np.ndarray, ItemFacts], float] | None = None


def list_values(kind: str, lists: ItemLists, k: int) -> np.ndarray:
    """What ``ListKind.values`` gives of the first k items."""
    cut = ItemLists(lists.group, lists.items[:, :k], lists.history, lists.facts)
    return LISTED[kind].values(cut)


def defined_lists(values: np.ndarray) -> np.ndarray:
    """(G,) True where a list has a value."""
    missing: np.ndarray = np.isnan(values).any(axis=tuple(range(1, values.ndim)))
    return ~missing


def list_figure(kind: str, values: np.ndarray, facts: ItemFacts) -> float:
    """The figure of the lists that have a value; NaN where it is not defined."""
    if not len(values):
        return np.nan
    pool = LISTED[kind].pool
    return float(values.mean()) if pool is None else pool(values, facts)


def _coverage(lists: ItemLists) -> np.ndarray:
    """Pooled: the share of the candidates that stand in any list, ``|union of L| / candidates``.

    Catalogue coverage of Ge, Delgado-Battenfeld and Jannach, "Beyond accuracy" (RecSys 2010), section 3.1.
    """
    return lists.items


def _covered(items: np.ndarray, facts: ItemFacts) -> float:
    return len(np.unique(items[items >= 0])) / facts.num_candidates


def _novelty(lists: ItemLists) -> np.ndarray:
    """By list: the mean self-information of its items in bits, ``(1/n) sum of log2(U / c_i)``.

    Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems" (PNAS 2010), and
    Castells, Vargas and Wang (DDR 2011). An item that nobody clicked counts as if one user had.
    """
    clicks = np.maximum(_clicks(lists.facts), 1)
    return _mean_of_items(lists.items, np.log2(max(lists.facts.num_users, 1) / clicks))


def _diversity(lists: ItemLists) -> np.ndarray:
    """By list: 1 - the share of its pairs of items that have a category in common.

    The intra-list similarity of Ziegler et al., "Improving recommendation lists through topic
    diversification" (WWW 2005), with a similarity of 1 or 0, as a mean over pairs. An item without a category
    has none in common with any other.
    """
    categories, found = lists.facts.categories, np.full(len(lists.items), np.nan)
    longest = lists.items.shape[1]
    for page in _pages(len(found), longest * (longest + categories.shape[1])):
        pairs, rows = _pairs(lists.items[page]), _rows(categories, lists.items[page])
        shared = (rows @ rows.transpose(0, 2, 1) > 0) & pairs
        found[page] = 1 - _over(shared.sum((1, 2)), pairs.sum((1, 2)))
    return found


def _vector_diversity(lists: ItemLists) -> np.ndarray:
    """By list: the mean distance of its pairs, ``(2 / n(n-1)) sum over i < j of 1 - cos(v_i, v_j)``.

    Intra-list distance, Zhang and Hurley, "Avoiding monotony" (RecSys 2008). The cosine to an item without a
    vector is 0. From the sum ``s`` of a list's unit vectors: the cosines of ordered pairs add up to
    ``|s|^2 - (vectors there)``.
    """
    found = np.full(len(lists.items), np.nan)
    vectors = lists.facts.vectors
    own = np.asarray((vectors * vectors).sum(1)).reshape(-1)
    for page in _pages(len(found), vectors.shape[1]):
        items = lists.items[page]
        total = _membership(items, len(own)) @ vectors
        squared = np.asarray((total * total).sum(1)).reshape(-1)
        cosines = squared - np.where(items >= 0, own[items], 0).sum(1)
        n = (items >= 0).sum(1)
        found[page] = 1 - _over(cosines, n * (n - 1))
    return found


def _popularity_bias(lists: ItemLists) -> np.ndarray:
    """Pooled: the mean popularity of what is recommended, over that of the users' histories.

    ``GAP = mean over lists of (1/n) sum of c_i``, for lists and for histories; the figure is
    ``GAP_lists / GAP_histories``, 1 + the delta GAP of Abdollahpouri et al., "The unfairness of popularity
    bias in recommendation" (RMSE 2019), with all users as one group. Above 1: more popular than what users
    choose. Lists of users without a history are skipped.
    """
    clicks = _clicks(lists.facts).astype(np.float64)
    count = np.asarray(lists.history.sum(1)).reshape(-1)
    before = _over(np.asarray(lists.history @ clicks).reshape(-1), count)
    return np.stack([_mean_of_items(lists.items, clicks), before], 1)


def _lift(gaps: np.ndarray, facts: ItemFacts) -> float:
    now, before = gaps.mean(0).tolist()
    return now / before if before else np.nan


def _calibration(lists: ItemLists) -> np.ndarray:
    """By list: the divergence of its categories from those of the history, 0 where they are the same.

    ``KL(p || q~) = sum over c of p(c) log(p(c) / q~(c))`` in nats, ``q~ = (1 - a) q + a p`` with a = 0.01,
    where p and q are the means over history and list of ``p(c|i)``, equal over the categories of an item:
    Steck, "Calibrated recommendations" (RecSys 2018), equations 2 to 6 without weights of the clicks. Items
    without a category are left out; a list of such alone has ``q = 0``. Lists of users whose history has no
    category are skipped.
    """
    categories, found = lists.facts.categories, np.full(len(lists.items), np.nan)
    for page in _pages(len(found), categories.shape[1]):
        wanted = _distribution((lists.history[page] @ categories).toarray())
        given = _distribution((_membership(lists.items[page], categories.shape[0]) @ categories).toarray())
        mixed = (1 - ALPHA) * np.nan_to_num(given) + ALPHA * wanted
        there = wanted > 0
        ratio = np.where(there, wanted, 1) / np.where(there, mixed, 1)
        divergence = (np.where(there, wanted, 0) * np.log(ratio)).sum(1)
        found[page] = np.where(np.isnan(wanted).any(1), np.nan, divergence)
    return found


def _pages(count: int, width: int) -> Iterator[slice]:
    """Lists of which each needs ``width`` numbers."""
    size = max(1, CELLS // max(1, width))
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _clicks(facts: ItemFacts) -> np.ndarray:
    assert facts.clicks is not None, "see ListKind.needs"
    return facts.clicks


def _over(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The quotient, NaN where the count is 0."""
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _mean_of_items(items: np.ndarray, value: np.ndarray) -> np.ndarray:
    there = items >= 0
    return _over(np.where(there, value[items], 0).sum(1), there.sum(1))


def _distribution(mass: np.ndarray) -> np.ndarray:
    """Rows that sum to 1; all NaN where there is nothing."""
    total = mass.sum(1, keepdims=True)
    return np.where(total > 0, mass / np.where(total > 0, total, 1), np.nan)


def _membership(items: np.ndarray, num_items: int) -> Any:
    """(B, N) sparse: 1 where an item stands in a list."""
    from scipy.sparse import csr_array

    there = items >= 0
    offsets = np.append(0, np.cumsum(there.sum(1)))
    return csr_array((np.ones(offsets[-1]), items[there], offsets), shape=(len(items), num_items))


def _rows(matrix: Any, items: np.ndarray) -> np.ndarray:
    """(B, K, C) dense rows of a sparse matrix; 0 where there is no item."""
    rows = matrix[np.maximum(items, 0).reshape(-1)].toarray().reshape(*items.shape, -1)
    return np.where((items >= 0)[:, :, None], rows, 0)


def _pairs(items: np.ndarray) -> np.ndarray:
    """(B, K, K) True for ordered pairs of different places that hold an item."""
    there = items >= 0
    return there[:, :, None] & there[:, None, :] & ~np.eye(items.shape[1], dtype=bool)


LISTED: dict[str, ListKind] = {
    "coverage": ListKind(_coverage, pool=_covered),
    "novelty": ListKind(_novelty, "clicks"),
    "diversity": ListKind(_diversity, "categories", least=2),
    "vector_diversity": ListKind(_vector_diversity, "vectors", least=2),
    "popularity_bias": ListKind(_popularity_bias, "clicks", higher_is_better=False, pool=_lift),
    "calibration": ListKind(_calibration, "categories", higher_is_better=False),
}
