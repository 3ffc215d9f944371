"""Untrained baselines, which every model must beat. They rank through the same scorer."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import ClickBatch
from legorec.data.clicks import TrainingClicks
from legorec.data.draws import Purpose, generator


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
