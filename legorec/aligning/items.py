"""Training batches of items, each with the tokens of its text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from legorec.data.draws import Purpose, generator
from legorec.data.passes import Passes
from legorec.data.ragged import Ragged
from legorec.nn.sending import sent
from legorec.processes import ALONE, Processes


@dataclass(frozen=True)
class ItemBatch:
    """The texts of ``B`` items, packed end to end without padding."""

    items: Tensor  # (B,) rows of the store
    tokens: Tensor  # (T,)
    lengths: Tensor  # (B,) tokens of each text, on the host; none is empty
    number: int = -1  # its place in the run, for messages

    @property
    def group(self) -> Tensor:
        """(B,) what messages name: the items."""
        return self.items

    def to(self, device: torch.device | str) -> ItemBatch:
        """The same batch on a device."""
        items, tokens = sent(device, self.items, self.tokens)
        return replace(self, items=items, tokens=tokens)


class ItemStream:
    """Passes over some items, one item a row.

    Args:
        texts: token ids of every item of the store.
        items: rows of those that are learned from.
        made: the batch from that of the texts and the number of its pass; what it draws must be a function of
            item and pass, so that shares of processes and a resumed run draw the same.
    """

    def __init__(
        self,
        texts: Ragged,
        items: np.ndarray,
        *,
        batch_size: int,
        epoch_batch: int = 0,
        seed: int = 2023,
        processes: Processes = ALONE,
        made: Callable[[ItemBatch, int], Any] = lambda batch, turn: batch,
    ) -> None:
        self.texts, self.items, self.seed, self.made = texts, items, seed, made
        self.passes = Passes(
            len(items),
            batch_size=batch_size,
            epoch_batch=epoch_batch,
            seed=seed,
            processes=processes,
            examples=items.copy,
        )

    def epoch(self, number: int) -> range:
        """The batches of epoch ``number``, counted from 0."""
        return self.passes.epoch(number)

    def batch(self, number: int) -> Any:
        """This process's share of batch ``number`` of the run."""
        own = self.passes.share(number)
        rows = self.texts.take(own)
        batch = ItemBatch(
            torch.from_numpy(own.astype(np.int64)),
            torch.from_numpy(rows.values.astype(np.int64)),
            torch.from_numpy(rows.lengths.astype(np.int64)),
            number,
        )
        return self.made(batch, number // self.passes.num_batches)


def held_out(items: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Items to learn from and items to judge by, both in order; the seed draws at least one for each.

    Raises:
        ValueError: there are fewer than two items.
    """
    if len(items) < 2:
        raise ValueError(
            f"there must be at least 2 items with a text to learn from and to judge by, got {len(items)}"
        )
    count = min(max(1, round(share * len(items))), len(items) - 1)
    drawn = generator(seed, Purpose.HELD_OUT, 0).permutation(items)
    return np.sort(drawn[count:]), np.sort(drawn[:count])
