"""Negatives for a training example: items skipped in the same impression, then draws from the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from legorec.data.histories import Histories
from legorec.data.ragged import Ragged, blocks

if TYPE_CHECKING:
    from legorec.data.store import Interactions

_MAX_ROUNDS = 50  # rejection rounds before the remaining draws are made exactly


class KnownClicks:
    """Every (user, item) click of the training data: its histories and its clicked candidates.

    Args:
        num_real: items from this row on are generated ones, which nobody clicked; None: none are.
    """

    def __init__(
        self, interactions: Interactions, histories: Histories, num_items: int, num_real: int | None = None
    ) -> None:
        self.num_items = num_items
        parts = [*self._click_keys(interactions), *self._history_keys(interactions, histories)]
        keys = np.concatenate([np.empty(0, np.int64), *parts])
        del parts
        keys.sort()  # in place: this is the largest array that training makes from a store
        new = np.ones(len(keys), dtype=bool)
        np.not_equal(keys[1:], keys[:-1], out=new[1:])
        if num_real is not None and num_real < num_items:
            new &= keys % num_items < num_real
        self.keys = keys[new]

    def _key(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return users.astype(np.int64) * self.num_items + items

    def _click_keys(self, interactions: Interactions) -> Iterator[np.ndarray]:
        """Clicked candidates."""
        candidates, labels = interactions.candidates, interactions.labels
        for block in blocks(len(labels)):
            clicked = np.flatnonzero(labels[block]) + block.start
            impression = np.searchsorted(candidates.offsets, clicked, side="right") - 1
            yield self._key(np.asarray(interactions.user)[impression], candidates.values[clicked])

    def _history_keys(self, interactions: Interactions, histories: Histories) -> Iterator[np.ndarray]:
        """Clicks inside training spans, each once. No place in the flat array belongs to two users."""
        owners = np.full(len(histories), -1, dtype=np.int32)
        for block in blocks(len(interactions)):
            owners[interactions.span[block]] = interactions.user[block]
        inside = histories.seen(np.flatnonzero(owners >= 0))
        spans = np.flatnonzero((owners >= 0) & (histories.lengths > 0))
        starts, first = np.unique(histories.starts[spans], return_index=True)
        users = owners[spans[first]]
        for block in blocks(len(histories.clicks)):
            clicked = np.flatnonzero(inside[block]) + block.start
            # A click belongs to the user of the last span that starts at or before it.
            owner = users[np.searchsorted(starts, clicked, side="right") - 1]
            yield self._key(owner, histories.clicks[clicked])

    def contains(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """True where the user is known to have clicked the item; arrays of one shape."""
        if not len(self.keys):
            return np.zeros(items.shape, dtype=bool)
        keys = self._key(users, items)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return self.keys[place] == keys

    def of_user(self, user: int) -> np.ndarray:
        """Items that one user has clicked."""
        low, high = np.searchsorted(self.keys, [user * self.num_items, (user + 1) * self.num_items])
        return self.keys[low:high] - user * self.num_items

    def users(self) -> np.ndarray:
        """The users who have clicked anything, ascending."""
        owners = self.keys // max(1, self.num_items)
        new = np.ones(len(owners), dtype=bool)
        np.not_equal(owners[1:], owners[:-1], out=new[1:])
        return owners[new]

    def counts(self) -> np.ndarray:
        """(num_items,) how many users clicked each item."""
        found = np.zeros(self.num_items, dtype=np.int64)
        for block in blocks(len(self.keys)):
            found += np.bincount(self.keys[block] % self.num_items, minlength=self.num_items)
        return found


class NegativeSampler:
    """Draws ``num_negatives`` items per row that the row's user is not known to have clicked.

    Items skipped in the same impression come first, without replacement. The rest is drawn uniformly from
    ``eligible``, the items that the training data shows, so that the model does not learn that items of later
    splits are unwanted.
    """

    def __init__(
        self, interactions: Interactions, known: KnownClicks, eligible: np.ndarray, num_negatives: int
    ) -> None:
        self.candidates: Ragged = interactions.candidates
        self.labels = Ragged(interactions.labels, interactions.candidates.offsets)
        self.known = known
        self.eligible = eligible
        self.num_negatives = num_negatives

    def sample(self, impressions: np.ndarray, users: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(B, num_negatives) item rows for (B,) impressions and their users, no item twice in a row.

        Raises:
            ValueError: a user has clicked so much of the catalogue that too few items are left.
        """
        drawn, filled = self._skipped(impressions, users, rng)
        if (filled < self.num_negatives).any():
            self._fill(drawn, filled, users, rng)
        return drawn

    def _skipped(
        self, impressions: np.ndarray, users: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Skipped items (B, num_negatives), filled up with -1, and how many each row has."""
        rows = self.candidates.take(impressions)
        row = rows.rows
        skipped = self.labels.take(impressions).values == 0
        wanted = skipped & ~self.known.contains(users[row], rows.values)
        row, items = row[wanted], rows.values[wanted]
        keys = row * self.known.num_items + items
        if (np.diff(np.sort(keys)) == 0).any():  # an impression shows an item twice
            first = np.sort(np.unique(keys, return_index=True)[1])
            row, items = row[first], items[first]
        order = np.argsort((row << 40) + rng.integers(1 << 40, size=len(row)))
        row, items = row[order], items[order]
        counts = np.bincount(row, minlength=len(impressions))
        rank = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = rank < self.num_negatives
        drawn = np.full((len(impressions), self.num_negatives), -1, dtype=np.int64)
        drawn[row[kept], rank[kept]] = items[kept]
        return drawn, np.minimum(counts, self.num_negatives)

    def _fill(
        self, drawn: np.ndarray, filled: np.ndarray, users: np.ndarray, rng: np.random.Generator
    ) -> None:
        rows = np.flatnonzero(filled < self.num_negatives)
        missing = np.arange(self.num_negatives) >= filled[rows, None]
        earlier = np.tri(self.num_negatives, k=-1, dtype=bool)
        part, owners = drawn[rows], np.broadcast_to(users[rows, None], missing.shape)
        redraw = missing.copy()
        for _ in range(_MAX_ROUNDS if len(self.eligible) else 0):
            part[redraw] = self.eligible[rng.integers(len(self.eligible), size=int(redraw.sum()))]
            twice = ((part[:, :, None] == part[:, None, :]) & earlier).any(2)
            redraw = missing & (twice | self.known.contains(owners, part))
            if not redraw.any():
                break
        else:
            self._fill_exactly(part, redraw, users[rows], rng)
        drawn[rows] = part

    def _fill_exactly(
        self, part: np.ndarray, redraw: np.ndarray, users: np.ndarray, rng: np.random.Generator
    ) -> None:
        for row in np.flatnonzero(redraw.any(1)):
            unclicked = np.setdiff1d(self.eligible, self.known.of_user(int(users[row])))
            left = np.setdiff1d(unclicked, part[row][~redraw[row]])
            wanted = int(redraw[row].sum())
            if len(left) < wanted:
                raise ValueError(
                    f"`num_negatives` ({self.num_negatives}) cannot be drawn for user row {users[row]}: of "
                    f"the {len(self.eligible)} items seen in training, {len(unclicked)} are left that the "
                    "user did not click; set a lower `num_negatives`"
                )
            part[row, redraw[row]] = rng.choice(left, size=wanted, replace=False)
