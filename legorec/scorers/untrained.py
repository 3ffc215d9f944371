"""Untrained baselines, which every model must beat. They rank through the same scorer."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import ClickBatch
from legorec.data.clicks import TrainingClicks
from legorec.data.draws import Purpose, generator
from legorec.data.histories import Histories


class RandomBaseline(nn.Module):
    """A score drawn for every candidate, the same for the same seed and batch number."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def forward(self, batch: ClickBatch) -> Tensor:
        drawn = generator(self.seed, Purpose.BASELINE, batch.number).random(tuple(batch.labels.shape))
        return torch.from_numpy(drawn.astype(np.float32))


class PopularityBaseline(nn.Module):
    """How many users clicked the item in the training data."""

    def __init__(self, clicks: TrainingClicks) -> None:
        super().__init__()
        self.counts = torch.from_numpy(clicks.known.counts().astype(np.float32))

    def forward(self, batch: ClickBatch) -> Tensor:
        return self.counts[batch.items][batch.candidates]


class ItemMeanBaseline(nn.Module):
    """The mean label of the item as a candidate of the training impressions; for others, that of all of them.

    Where candidates were liked or disliked it says how much an item is liked, and where they were shown it is
    the click-through rate.
    """

    def __init__(self, clicks: TrainingClicks) -> None:
        super().__init__()
        shown, labels = clicks.interactions.candidates.values, clicks.interactions.labels
        count = np.bincount(shown, minlength=clicks.num_items)
        total = np.bincount(shown, weights=labels, minlength=clicks.num_items)
        mean = float(labels.mean()) if len(labels) else 0.0
        means = np.where(count > 0, total / np.maximum(count, 1), mean)
        self.means = torch.from_numpy(means.astype(np.float32))

    def forward(self, batch: ClickBatch) -> Tensor:
        return self.means[batch.items][batch.candidates]


class LikesRatioBaseline(nn.Module):
    """The share of liked clicks in the history, the same for every candidate; a half where there is no click.

    It says who likes much, and nothing of what. Pooled metrics reward that; metrics by user see only how the
    share changes with time.

    Args:
        histories: as the batches are cut.
        liked: (num_clicks,) beside ``histories.clicks``.
    """

    def __init__(self, histories: Histories, liked: np.ndarray) -> None:
        super().__init__()
        self.histories, self.liked = histories, liked.astype(np.int64)

    def forward(self, batch: ClickBatch) -> Tensor:
        likes = self.histories.beside(self.liked, batch.span.numpy()).sum(1)
        clicks = batch.history_mask.numpy().sum(1)
        share = np.where(clicks > 0, likes / np.maximum(clicks, 1), 0.5).astype(np.float32)
        return torch.from_numpy(share)[:, None].expand(tuple(batch.labels.shape))


class RepeatLastBaseline(nn.Module):
    """1 for the item that was clicked last, else 0: what a data set with repeats gives away.

    Where the clicks of the history are no candidates, it says nothing.
    """

    def forward(self, batch: ClickBatch) -> Tensor:
        last_B = torch.from_numpy(last_items(batch))
        return (batch.items[batch.candidates] == last_B[:, None]).float()


class MostRecentBaseline(nn.Module):
    """When the item was last clicked in the training data: the later, the higher; never is lowest.

    The score is the place of that time among those of all items, since float32 does not hold seconds. Clicks
    that are known from histories alone have no time.

    Raises:
        ValueError: the impressions of the training data have no times.
    """

    def __init__(self, clicks: TrainingClicks) -> None:
        super().__init__()
        shown = clicks.interactions
        if shown.time is None:
            raise ValueError("the training impressions have no times, so no click is known to be recent")
        latest = np.full(clicks.num_items, np.iinfo(np.int64).min)
        clicked = np.flatnonzero(shown.labels)
        impression = np.searchsorted(shown.candidates.offsets, clicked, side="right") - 1
        np.maximum.at(latest, shown.candidates.values[clicked], shown.time[impression])
        place = np.unique(latest, return_inverse=True)[1].reshape(-1)
        self.latest = torch.from_numpy(place.astype(np.float32))

    def forward(self, batch: ClickBatch) -> Tensor:
        return self.latest[batch.items][batch.candidates]


def last_items(batch: ClickBatch) -> np.ndarray:
    """(B,) rows of the items that were clicked last; -1 without a history."""
    lengths = batch.history_mask.sum(1)
    last = batch.history.gather(1, (lengths - 1).clamp(min=0)[:, None])[:, 0]
    return torch.where(lengths > 0, batch.items[last], -1).numpy()
