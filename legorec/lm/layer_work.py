"""Run rows of tokens through all layers of a model: in one piece, or one layer after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from legorec.data.ragged import Ragged
from legorec.halving import Halving
from legorec.lm.cut import LowerLayers, UpperLayers
from legorec.lm.streamed import StreamedLayers

Done = TypeVar("Done")
State = tuple[np.ndarray, Tensor]  # rows, and their packed states (T, E)


def fitting(lengths: np.ndarray, rows: np.ndarray, token_budget: int) -> int:
    """How many of the first rows make a batch; the first row is the longest."""
    return max(1, token_budget // int(lengths[rows[0]]))


class LayerWork:
    """Batches through all layers, before the final norm; both ways give the same bytes.

    Args:
        tokens: token ids of all rows.
        halving: halves batches when memory is short.
        keep: called with rows, the longest first, and their packed states after the last layer.
    """

    def __init__(
        self,
        tokens: Ragged,
        halving: Halving,
        device: torch.device | str,
        keep: Callable[[np.ndarray, Tensor], None],
    ) -> None:
        self.tokens, self.halving, self.device, self.keep = tokens, halving, device, keep
        self.lengths = tokens.lengths

    def in_one_piece(self, rows: np.ndarray, lower: LowerLayers) -> None:
        """One batch through layers that are all in memory."""
        depth = max(lower.depths)
        self._pages(rows, lambda places: self.keep(rows[places], self._embedded(rows[places], lower, depth)))

    def layer_by_layer(self, batches: Sequence[np.ndarray], layers: StreamedLayers) -> None:
        """Several batches, whose states are in memory while one layer after the other is read."""
        flight: deque[State] = deque((rows, torch.empty(0)) for rows in batches)
        # Closed at once, so that no thread goes on reading when the work is stopped.
        with closing(layers.parts(layers.depth)) as parts:
            for _, part in parts:
                for _ in range(len(flight)):
                    flight.extend(self._through(part, *flight.popleft()))
        while flight:
            rows, states = flight.popleft()
            self._pages(rows, partial(self._keep_some, rows, states))

    def _through(self, part: LowerLayers | UpperLayers, rows: np.ndarray, states_TE: Tensor) -> list[State]:
        """A batch after the embeddings or one more layer; in several batches where memory is short."""

        def run(places: np.ndarray) -> State:
            some = rows[places]
            if isinstance(part, LowerLayers):
                return some, self._embedded(some, part, 0)
            return some, part(self._of(states_TE, rows, places), torch.from_numpy(self.lengths[some]))

        return self._pages(rows, run)

    def _keep_some(self, rows: np.ndarray, states_TE: Tensor, places: np.ndarray) -> None:
        self.keep(rows[places], self._of(states_TE, rows, places))

    def _pages(self, rows: np.ndarray, run: Callable[[np.ndarray], Done]) -> list[Done]:
        """The results of ``run`` for places of neighbouring rows."""
        fits = partial(fitting, self.lengths[rows])
        return list(
            self.halving.pages(
                np.arange(len(rows)), run, lambda place: f"row {rows[place]} of the items", fits
            )
        )

    def _embedded(self, rows: np.ndarray, lower: LowerLayers, depth: int) -> Tensor:
        ids = torch.from_numpy(self.tokens.take(rows).values).to(self.device).long()
        return lower(ids, torch.from_numpy(self.lengths[rows]))[depth]

    def _of(self, states_TE: Tensor, rows: np.ndarray, places: np.ndarray) -> Tensor:
        """The states of neighbouring rows of a batch."""
        ends = np.append(0, self.lengths[rows].cumsum())
        return states_TE[int(ends[places[0]]) : int(ends[places[-1] + 1])]
