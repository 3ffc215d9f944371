"""Which impressions of a split are kept, and which of their candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from legorec.data.draws import Purpose, generator
from legorec.data.histories import Histories
from legorec.data.interactions import Interactions
from legorec.data.ragged import Ragged, offsets_of
from legorec.data.strings import Strings

ROWS = 1 << 18  # impressions at a time, so that nothing in between is as long as all candidates


@dataclass(frozen=True)
class Rule:
    """What an impression must fulfil: one of three things.

    Args:
        said: the rule in words, for messages.
        history: the least and the most clicks that were stored before the impression; None has no bound.
        users: (U,) True for users whose impressions are kept.
        items: (N,) True for candidates that are kept; an impression without any is not. Histories stay.
    """

    said: str
    history: tuple[int | None, int | None] | None = None
    users: np.ndarray | None = None
    items: np.ndarray | None = None

    def keeps(self, user: np.ndarray, clicks: np.ndarray) -> np.ndarray:
        """(I,) True for impressions that are kept whatever they show.

        Args:
            user: (I,) rows of the users.
            clicks: (I,) the number of clicks before each impression.
        """
        kept = np.ones(len(user), dtype=bool) if self.users is None else self.users[user]
        if self.history is not None:
            least, most = self.history
            kept = kept & (clicks >= (least or 0))
            kept = kept if most is None else kept & (clicks <= most)
        return kept


@dataclass(frozen=True)
class Kept:
    """What rules have left of a split."""

    interactions: Interactions
    dropped: list[int]  # impressions that each rule took of those that the rules before it had left
    without: int  # candidates of kept impressions that were left out

    def said(self, rules: Sequence[Rule], split: str, num_before: int) -> str:
        """One line: how many impressions are kept, and what each rule took."""
        parts = [f"{rule.said} takes {count:,}" for rule, count in zip(rules, self.dropped, strict=True)]
        if self.without:
            parts.append(f"{self.without:,} candidates of the others are left out")
        kept = len(self.interactions)
        return f"filters: {kept:,} of {num_before:,} {split} impressions kept ({'; '.join(parts)})"


def some_of(interactions: Interactions, row: np.ndarray) -> Interactions:
    """These impressions, with all their candidates; they keep the numbers that they have in the store."""
    labels = Ragged(interactions.labels, interactions.candidates.offsets)
    return _of_rows(interactions, row, interactions.candidates.take(row), labels.take(row).values)


def few_shots(interactions: Interactions, count: int, seed: int, stratified: bool = False) -> Interactions:
    """So many impressions, drawn by the seed alone, in stored order: fewer are among those of more.

    Args:
        stratified: the share of impressions with a click is as near to the whole's as ``count`` allows.

    Raises:
        ValueError: there are fewer, or none of the drawn ones has a click where there are clicks.
    """
    if count > len(interactions):
        raise ValueError(
            f"`data.shots` must be at most the {len(interactions):,} impressions of the training split, "
            f"got {count:,}"
        )
    order = generator(seed, Purpose.SHOTS, 0).permutation(len(interactions))
    if stratified:
        order = _alternating(order, _has_click(interactions)[order])
    found = some_of(interactions, np.sort(order[:count]))
    if np.any(interactions.labels) and not np.any(found.labels):
        raise ValueError(
            f"`data.shots`: none of the {count:,} drawn has a click; take more, or another `seed`"
        )
    return found


def _has_click(interactions: Interactions) -> np.ndarray:
    """(R,) whether an impression has a clicked candidate."""
    clicks = np.append(0, np.cumsum(np.asarray(interactions.labels) != 0))
    offsets = interactions.candidates.offsets
    return clicks[offsets[1:]] > clicks[offsets[:-1]]


def _alternating(order: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """The same rows, each kind in its order, so that the first n hold their share of positives, rounded.

    The first row is a positive one wherever there is one, since one example teaches more than none.
    """
    share = positive.mean()
    wanted = np.floor(np.arange(len(order) + 1) * share + 0.5).astype(np.int64)
    wanted[1:] = np.maximum(wanted[1:], min(1, int(positive.sum())))
    takes = np.diff(wanted) > 0
    found = np.empty_like(order)
    found[takes], found[~takes] = order[positive], order[~positive]
    return found


def sampled(interactions: Interactions, count: int, seed: int) -> Interactions:
    """At most so many impressions, drawn by the seed alone, in stored order."""
    order = generator(seed, Purpose.SHOTS, 1).permutation(len(interactions))
    return some_of(interactions, np.sort(order[:count]))


def _of_rows(
    interactions: Interactions, row: np.ndarray, candidates: Ragged, labels: np.ndarray
) -> Interactions:
    ids, time = interactions.ids, interactions.time
    return Interactions(
        user=np.asarray(interactions.user)[row],
        span=np.asarray(interactions.span)[row],
        candidates=candidates,
        labels=labels,
        ids=None if ids is None else Strings(ids.packed.take(row)),
        time=None if time is None else np.asarray(time)[row],
        labelled=interactions.labelled,
        rows=interactions.numbers[row],
    )


def filtered(
    interactions: Interactions, histories: Histories, rules: Sequence[Rule], num_real: int | None = None
) -> Kept:
    """The impressions, with their candidates, that all rules keep, in stored order.

    They keep the numbers that they have in the store (``Interactions.numbers``).

    Args:
        num_real: items from this row on are generated ones, which rules about histories do not count.
    """
    lengths = histories.whole().num_real(num_real)
    dropped, without = np.zeros(len(rules), dtype=np.int64), 0
    rows, sizes, values, labels = [], [], [], []
    for start in range(0, len(interactions), ROWS):
        stop = min(start + ROWS, len(interactions))
        offsets = interactions.candidates.offsets[start : stop + 1]
        flat = slice(int(offsets[0]), int(offsets[-1]))
        items = interactions.candidates.values[flat]
        user, clicks = np.asarray(interactions.user[start:stop]), lengths[interactions.span[start:stop]]
        kept, offered = np.ones(stop - start, dtype=bool), np.ones(len(items), dtype=bool)
        for place, rule in enumerate(rules):
            before = int(kept.sum())
            kept &= rule.keeps(user, clicks)
            if rule.items is not None:
                offered &= rule.items[items]
                kept &= Ragged(items, offsets - offsets[0]).keep(offered).lengths > 0
            dropped[place] += before - int(kept.sum())
        in_kept = np.repeat(kept, np.diff(offsets))
        without += int((in_kept & ~offered).sum())
        offered &= in_kept
        rows.append(np.flatnonzero(kept) + start)
        sizes.append(Ragged(items, offsets - offsets[0]).keep(offered).lengths[kept])
        values.append(items[offered])
        labels.append(interactions.labels[flat][offered])
    row = np.concatenate([np.empty(0, np.int64), *rows])
    candidates = Ragged(
        np.concatenate([np.empty(0, interactions.candidates.values.dtype), *values]),
        offsets_of(np.concatenate([np.empty(0, np.int64), *sizes])),
    )
    found = _of_rows(interactions, row, candidates, np.concatenate([np.empty(0, np.uint8), *labels]))
    return Kept(found, dropped.tolist(), without)
