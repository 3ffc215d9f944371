"""Rows of vectors in one of two forms: packed where their lengths are known on the host, else padded.

Layers that treat each vector separately (dense layers, norms) take both forms as they are. Layers that look
along a row tell the two forms apart.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from legorec.nn.fused import gather_rows
from legorec.nn.graphs import packs
from legorec.nn.segments import Segments, pack
from legorec.nn.sending import sent

# The rows of packed values (T, D), or the mask (B, L) of padded ones (B, L, D), real places first.
Rows: TypeAlias = Segments | Tensor


def rows_of(clicks_BHD: Tensor, mask_BH: Tensor) -> tuple[Tensor, Rows]:
    """Histories, packed on the host; on a device, where counting clicks would wait, zero where masked."""
    if packs(mask_BH):
        return pack(clicks_BHD, mask_BH)
    return clicks_BHD.masked_fill(~mask_BH.unsqueeze(2), 0.0), mask_BH


def token_places(rows: Segments, max_length: int, device: torch.device) -> Tensor:
    """(T,) the place of each packed token within its item, from 0.

    Raises:
        ValueError: an item has more than ``max_length`` tokens.
    """
    if rows.max_length > max_length:
        raise ValueError(
            f"`max_length` must be at least {rows.max_length}, the tokens of the longest item, "
            f"got {max_length}"
        )
    lengths = rows.lengths.numpy()
    starts = lengths.cumsum() - lengths
    return sent(device, np.arange(rows.total) - np.repeat(starts, lengths))[0]


def recency(rows: Rows, device: torch.device) -> Tensor:
    """How many clicks came after each one, (T,) or (B, H); negative where the mask is False."""
    if isinstance(rows, Segments):
        lengths = rows.lengths.numpy()
        later = np.repeat(lengths.cumsum(), lengths) - 1 - np.arange(rows.total)
        return sent(device, later)[0]
    return rows.sum(1, keepdim=True) - 1 - torch.arange(rows.shape[1], device=device)


def last(values: Tensor, rows: Rows) -> Tensor:
    """(R, D) the last vector of each row; an empty row gives zero."""
    if isinstance(rows, Segments):
        return rows.end(values, "last")
    B, L, D = values.shape
    if L == 0:
        return values.new_zeros(B, D)
    lengths_B = rows.sum(1)
    places_B = torch.arange(B, device=values.device) * L + (lengths_B - 1).clamp(min=0)
    return gather_rows(values.flatten(0, 1), places_B).masked_fill((lengths_B == 0).unsqueeze(1), 0.0)


def mean(values: Tensor, rows: Rows) -> Tensor:
    """(R, ...) the mean of each row of (T, ...) or (B, L, ...); an empty row gives zero."""
    if isinstance(rows, Segments):
        return rows.mean(values.flatten(1)).unflatten(1, values.shape[1:])
    shares_BL = (rows / rows.sum(1, keepdim=True).clamp(min=1)).to(values.dtype)
    return (values * shares_BL.view(*rows.shape, *[1] * (values.dim() - 2))).sum(1)


def spread(vectors: Tensor, rows: Rows) -> Tensor:
    """Repeat what each row has, (R, ...), for each of its values: (T, ...), or (B, 1, ...) to broadcast."""
    if not isinstance(rows, Segments):
        return vectors.unsqueeze(1)
    index_T = rows.rows(vectors.device)
    return gather_rows(vectors.flatten(1), index_T).unflatten(1, vectors.shape[1:])


def padded(values: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """(R, L, D) and the mask (R, L)."""
    return rows.pad(values) if isinstance(rows, Segments) else (values, rows)


def unpadded(values: Tensor, rows: Rows) -> Tensor:
    """(R, L, ...) in the form of ``rows``: (T, ...), or unchanged."""
    return rows.unpad(values) if isinstance(rows, Segments) else values
