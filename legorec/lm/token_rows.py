"""Parts of packed rows of tokens: some of the rows, one segment of each, and means over stretches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from legorec.batch import TokenBatch
from legorec.nn.fused import gather_rows
from legorec.nn.row_places import row_places
from legorec.nn.segments import Segments
from legorec.nn.sending import sent


def some_rows(batch: TokenBatch, rows: slice, said: str) -> TokenBatch:
    """Some rows alone, of which the model is to say the tokens of one segment, apart from a row's first."""
    begins, lengths = _begins(batch)[rows], batch.lengths[rows]
    first = int(begins[0]) if len(lengths) else 0
    spans = {name: span[rows] for name, span in batch.spans.items()}
    start, stop = spans[said].numpy().T
    start = np.maximum(start, 1)
    (learned,) = sent(batch.tokens.device, row_places(begins - first + start, np.maximum(stop - start, 0)))
    return replace(
        batch,
        tokens=batch.tokens[first : first + int(lengths.sum())],
        lengths=lengths,
        learned=learned,
        spans=spans,
        group=batch.group[rows],
        label=batch.label[rows],
        item=None if batch.item is None else batch.item[rows],
    )


def segment_alone(batch: TokenBatch, name: str) -> TokenBatch:
    """The rows of one segment without what stands around it; nothing in them is learned."""
    start, stop = batch.spans[name].numpy().T
    lengths = stop - start
    assert lengths.all(), f"a row has no token of '{name}'"
    places, learned = sent(
        batch.tokens.device, row_places(_begins(batch) + start, lengths), np.zeros(0, dtype=np.int64)
    )
    span = torch.from_numpy(np.stack([np.zeros_like(lengths), lengths], axis=1))
    return replace(
        batch,
        tokens=batch.tokens.index_select(0, places),
        lengths=torch.from_numpy(lengths),
        learned=learned,
        spans={name: span},
    )


def means(states_TD: Tensor, batch: TokenBatch, span_B2: Tensor) -> Tensor:
    """(B, D) means of the states from start to stop of each row; zero where that is nothing.

    Args:
        states_TD: of the batch's tokens.
        span_B2: within each row, on the host.
    """
    start, stop = span_B2.numpy().T
    (places,) = sent(states_TD.device, row_places(_begins(batch) + start, stop - start))
    return Segments(torch.from_numpy(stop - start)).mean(gather_rows(states_TD, places))


def _begins(batch: TokenBatch) -> np.ndarray:
    """(B,) the place of each row's first token."""
    lengths: np.ndarray = batch.lengths.numpy()
    return lengths.cumsum() - lengths
