"""Training batches from stored impressions. Batch i of a run is a pure function of (seed, i)."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from legorec.batch import ClickBatch
from legorec.data.collate import collate
from legorec.data.draws import Purpose, generator
from legorec.data.histories import Histories
from legorec.data.negatives import KnownClicks, NegativeSampler
from legorec.data.passes import Passes
from legorec.data.ragged import blocks
from legorec.processes import ALONE, Processes

if TYPE_CHECKING:
    from legorec.data.store import Interactions


class TrainingClicks:
    """The data that training may use: the impressions of its split, their clicks and the items they show.

    Args:
        before: the whole split, where filters left some of it out; none of its clicks is a negative either.
        allowed: (N,) True for items that filters keep as candidates; no other is drawn as a negative.
        num_real: items from this row on are generated ones: they are no clicks, and never negatives.
    """

    def __init__(
        self,
        interactions: Interactions,
        histories: Histories,
        num_items: int,
        before: Interactions | None = None,
        allowed: np.ndarray | None = None,
        num_real: int | None = None,
    ) -> None:
        self.interactions = interactions
        self.histories = histories
        self.num_items = num_items
        whole = histories.whole()
        self.num_real = num_items if num_real is None else num_real
        self.known = KnownClicks(interactions, whole, num_items, num_real)
        self.never_drawn = self.known
        if before is not None:
            self.never_drawn = KnownClicks(before, whole, num_items, num_real)
        seen = self._shown(whole)
        seen[self.num_real :] = False
        self.eligible = np.flatnonzero(seen if allowed is None else seen & allowed)

    @cached_property
    def seen(self) -> np.ndarray:
        """(N,) True for items among the candidates, or in a history as it is cut: what an epoch learns of."""
        return self._shown(self.histories)

    def _shown(self, histories: Histories) -> np.ndarray:
        used = np.zeros(len(histories), dtype=bool)
        for block in blocks(len(self.interactions)):
            used[self.interactions.span[block]] = True
        seen = histories.used_items(np.flatnonzero(used), self.num_items)
        for block in blocks(len(self.interactions.labels)):
            seen[self.interactions.candidates.values[block]] = True
        return seen


class ClickStream:
    """Batches of ``batch_size`` training examples, numbered through the whole run.

    An example is a clicked candidate (``positives_only``) or any candidate with its label; ``num_negatives``
    more items follow a clicked one. Order and epochs are those of ``Passes``.

    Args:
        epoch_batch: see ``Passes``.
        processes: each of several gets its share of the examples of every batch, which may be empty. Every
            process draws for the whole batch, so the shares make up the batch of a single process.

    Raises:
        ValueError: there is no click to learn from, or ``batch_size`` is below 1.
    """

    def __init__(
        self,
        clicks: TrainingClicks,
        *,
        batch_size: int,
        num_negatives: int,
        positives_only: bool,
        epoch_batch: int = 0,
        seed: int = 2023,
        processes: Processes = ALONE,
    ) -> None:
        self.interactions, self.histories = clicks.interactions, clicks.histories
        self.batch_size, self.seed = batch_size, seed
        self.positives_only, self.processes = positives_only, processes
        labels = self.interactions.labels
        num_clicks = int(np.count_nonzero(labels))
        if not num_clicks:
            raise ValueError("the training split holds no click; nothing can be learned from it")
        self.passes = Passes(
            num_clicks if positives_only else len(labels),
            batch_size=batch_size,
            epoch_batch=epoch_batch,
            seed=seed,
            processes=processes,
            examples=self._examples,
        )
        self.num_examples, self.num_batches = self.passes.num_examples, self.passes.num_batches
        self._sampler = NegativeSampler(self.interactions, clicks.never_drawn, clicks.eligible, num_negatives)

    def epoch(self, number: int) -> range:
        """The batches of epoch ``number``, counted from 0."""
        return self.passes.epoch(number)

    def _examples(self) -> np.ndarray:
        """The examples as places among all candidates; in pointwise training this is the largest array."""
        labels = self.interactions.labels
        dtype = np.int32 if len(labels) < 2**31 else np.int64
        if not self.positives_only:
            return np.arange(len(labels), dtype=dtype)
        places = [np.flatnonzero(labels[block]) + block.start for block in blocks(len(labels))]
        return np.concatenate(places, dtype=dtype)

    def batch(self, number: int) -> ClickBatch:
        """This process's share of batch ``number`` of the run: (B, 1 + num_negatives) candidates, the
        example's own first.

        Raises:
            ValueError: a user has clicked too many items for that many negatives.
        """
        flat = self.passes.whole(number).astype(np.int64)
        candidates = self.interactions.candidates
        impression = np.searchsorted(candidates.offsets, flat, side="right") - 1
        user, span = self.interactions.user[impression], self.interactions.span[impression]
        item, label = candidates.values[flat], self.interactions.labels[flat]
        rng = generator(self.seed, Purpose.NEGATIVES, number)
        clicked = label == 1
        shown = np.zeros((len(flat), 1 + self._sampler.num_negatives), dtype=np.int64)
        shown[:, 0] = item
        shown[clicked, 1:] = self._sampler.sample(impression[clicked], user[clicked], rng)
        mask = np.ones(shown.shape, dtype=bool)
        mask[:, 1:] = clicked[:, None]
        labels = np.zeros(shown.shape, dtype=np.float32)
        labels[:, 0] = label
        own = self.processes.share(len(flat))
        history, history_mask = self.histories.padded(span[own])
        return collate(
            history,
            history_mask,
            shown[own],
            mask[own],
            labels[own],
            user=user[own],
            group=impression[own],
            span=span[own],
            number=number,
        )
