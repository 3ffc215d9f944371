"""Ranked metrics: a value for each group, its expected value where rows of a group tie.

In formulas a tie block has ``m`` rows, ``p`` of them clicked, and ``s`` rows of its group above it; the group
has ``P`` clicks; ``H(r)`` is the sum of 1/i up to rank r.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from legorec.tie_blocks import TieBlocks


def _gauc(blocks: TieBlocks, _: int) -> np.ndarray:
    """By group: the share of pairs (click, non-click) where the click scores higher; a tie is one half."""
    tied = blocks.size - blocks.hits
    lower = (blocks.rows - blocks.clicks)[blocks.block_group] - (blocks.start - blocks.above) - tied
    pairs = blocks.clicks * (blocks.rows - blocks.clicks)
    return blocks.sum_by_group(blocks.hits * (lower + 0.5 * tied)) / np.maximum(pairs, 1)


def _mrr(blocks: TieBlocks, k: int) -> np.ndarray:
    """By group, as in MIND's evaluation: the mean of 1/rank over all clicks; ``mrr@k``: ranks after k give 0.

    Ties: a block gives ``p (H(s+m) - H(s)) / m``. Unlike ``rr``, later clicks count, so with several clicks
    even a perfect ranking stays below 1.
    """
    return _clicks_mean(blocks, blocks.spread(1.0 / blocks.ranks()[: k or None]))


def _rr(blocks: TieBlocks, _: int) -> np.ndarray:
    """By group: 1/rank of the first click.

    Ties: the expectation over the place of the first of ``p`` clicks among ``m`` rows. It depends only on
    (s, m, p), which take few values, so each distinct triple is computed once.
    """
    group, start, size, hits = blocks.first_with_click()
    expected = 1.0 / (start + 1)
    tied = size > 1
    triples, which = np.unique(np.stack([start, size, hits], 1)[tied], axis=0, return_inverse=True)
    expected[tied] = np.array([_expected_first(*triple) for triple in triples.tolist()])[which.reshape(-1)]
    return blocks.to_groups(group, expected)


def _expected_first(start: int, size: int, hits: int) -> float:
    place = np.arange(size - hits + 1)  # rows of the block above its first click
    no_click_above = np.concatenate(([1.0], np.cumprod((size - hits - place[:-1]) / (size - place[:-1]))))
    return float((no_click_above * hits / (size - place) / (start + place + 1)).sum())


def _lrap(blocks: TieBlocks, _: int) -> np.ndarray:
    """By group: label ranking average precision, the mean over clicks of (clicks ranked no lower) / rank.

    ONCE's code reports it as MRR. Ties: a click that is i-th in its block has on average ``(p-1)(i-1)/(m-1)``
    clicks of the block before it, and every i is equally likely. scikit-learn instead puts all tied rows at
    the lowest rank of their block; without ties the two agree.
    """
    harmonic = np.concatenate(([0.0], np.cumsum(1.0 / blocks.ranks())))
    start, size, hits = blocks.start, blocks.size, blocks.hits
    reciprocals = harmonic[start + size] - harmonic[start]
    clicks_before = (hits - 1) / np.maximum(size - 1, 1)  # for each row of the block before the click
    sums = (blocks.above + 1) * reciprocals + clicks_before * (size - (start + 1) * reciprocals)
    return _clicks_mean(blocks, hits * sums / size)


def _ndcg(blocks: TieBlocks, k: int) -> np.ndarray:
    """By group: gain 1 per click, discount 1/log2(rank + 1), divided by the maximum for P clicks within k.

    Ties: every click of a block gets the block's mean discount, as in scikit-learn.
    """
    discount = 1.0 / np.log2(blocks.ranks()[:k] + 1)
    ideal = np.cumsum(discount)[np.clip(blocks.clicks, 1, len(discount)) - 1]
    return blocks.sum_by_group(blocks.spread(discount)) / ideal


def _hit(blocks: TieBlocks, k: int) -> np.ndarray:
    """By group: whether any click is among the first k.

    Ties: with t rows of the first clicked block within k, the probability is ``1 - C(m-t, p) / C(m, p)``.
    """
    group, start, size, hits = blocks.first_with_click()
    within = np.clip(min(k, blocks.longest) - start, 0, size)
    few, many = np.minimum(within, hits), np.maximum(within, hits)
    miss = np.ones(len(group))
    for drawn in range(int(few.max(initial=0))):  # C(m-t, p) / C(m, p) as a product of min(t, p) factors
        active = np.flatnonzero((few > drawn) & (miss > 0))
        if not len(active):
            break
        miss[active] *= np.maximum(size[active] - many[active] - drawn, 0) / (size[active] - drawn)
    return blocks.to_groups(group, 1.0 - miss)


def _recall(blocks: TieBlocks, k: int) -> np.ndarray:
    """By group: the share of its clicks among the first k. Ties: a block with t rows within k gives p t/m."""
    return _clicks_mean(blocks, blocks.spread(np.ones(min(k, blocks.longest))))


def _precision(blocks: TieBlocks, k: int) -> np.ndarray:
    """By group: clicks among the first k, divided by k even if the group is shorter. Ties as in recall."""
    return blocks.sum_by_group(blocks.spread(np.ones(min(k, blocks.longest)))) / k


def _clicks_mean(blocks: TieBlocks, sums_X: np.ndarray) -> np.ndarray:
    return blocks.sum_by_group(sums_X) / np.maximum(blocks.clicks, 1)


RANKED: dict[str, Callable[[TieBlocks, int], np.ndarray]] = {
    "gauc": _gauc,
    "mrr": _mrr,
    "rr": _rr,
    "lrap": _lrap,
    "ndcg": _ndcg,
    "hit": _hit,
    "recall": _recall,
    "precision": _precision,
}
