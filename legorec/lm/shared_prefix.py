"""Rows that begin alike: one pass over what they share, then one over the rest of each."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from legorec.lm.length_groups import OVERHEAD, OVERHEAD_ELSEWHERE, LengthGroups
from legorec.lm.padded_rows import Past
from legorec.nn.row_places import row_places
from legorec.nn.sending import sent


class ReadsAfter(Protocol):
    """A language model that can begin behind tokens that it has read before."""

    def padded(self, ids_T: Tensor, lengths: np.ndarray, past: Past) -> Tensor:
        """(T, D) final states of packed rows that are run as one padded batch."""


def shared_lengths(tokens: np.ndarray, lengths: np.ndarray, lists: np.ndarray, device: str) -> np.ndarray:
    """(B,) how many tokens of each row are read once for its whole list; 0 where that saves nothing.

    Each row keeps one token of its own at least, where it is asked.

    Args:
        tokens: (T,) packed.
        lengths: (B,) of the rows.
        lists: (B,) the list of each row; rows of one list stand together.
    """
    if not len(lengths):
        return np.zeros(0, dtype=np.int64)
    first = np.flatnonzero(np.diff(lists, prepend=lists[0] - 1))  # the first row of each list
    of_list = np.repeat(np.arange(len(first)), np.diff(first, append=len(lists)))
    starts = lengths.cumsum() - lengths
    place = np.arange(len(tokens)) - np.repeat(starts, lengths)  # within the row
    model = np.repeat(first[of_list], lengths)  # the row that this one is compared with
    inside = place < lengths[model]
    alike = inside & (tokens == tokens[starts[model] + np.where(inside, place, 0)])
    alike_B = np.minimum.reduceat(np.where(alike, lengths.max(), place), starts)
    common = np.minimum.reduceat(np.minimum(alike_B, lengths - 1), first)
    saved = common * (np.diff(first, append=len(lists)) - 1)
    common[saved <= OVERHEAD.get(device, OVERHEAD_ELSEWHERE)] = 0
    return common[of_list]


def last_states(
    model: ReadsAfter, tokens: np.ndarray, lengths: np.ndarray, lists: np.ndarray, shared: np.ndarray,
    device: torch.device,
) -> Tensor:  # fmt: skip
    """(B, D) the state of each row's last token; every prefix is read once.

    The keys and values of the prefixes of like length are in memory together, and those of all rows for one
    layer at a time.

    Args:
        shared: (B,) from ``shared_lengths``, none of which is 0 here.
    """
    from legorec.lm.prefix_cache import after_prefixes, empty_cache

    starts = lengths.cumsum() - lengths
    first = np.flatnonzero(np.diff(lists, prepend=lists[0] - 1))
    of_list = np.repeat(np.arange(len(first)), np.diff(first, append=len(lists)))
    order: list[np.ndarray] = []
    states: list[Tensor] = []
    for prefixes in LengthGroups(torch.from_numpy(shared[first]), device).rows:
        cache, rows = empty_cache(), first[prefixes]
        (ids,) = sent(device, tokens[row_places(starts[rows], shared[rows])])
        model.padded(ids, shared[rows], Past(cache))
        owner_of = np.full(len(first), -1)
        owner_of[prefixes] = np.arange(len(prefixes))
        members = np.flatnonzero(owner_of[of_list] >= 0)
        left = lengths[members] - shared[members]
        for chosen in LengthGroups(torch.from_numpy(left), device).rows:
            some, sizes = members[chosen], left[chosen]
            owner = owner_of[of_list[some]]
            ids, owners, ends = sent(
                device, tokens[row_places(starts[some] + shared[some], sizes)], owner, sizes.cumsum() - 1
            )
            past = Past(after_prefixes(cache, owners), shared[some], int(shared[rows].max()))
            states.append(model.padded(ids, sizes, past).index_select(0, ends))
            order.append(some)
    (inverse,) = sent(device, np.argsort(np.concatenate(order)))
    return torch.cat(states).index_select(0, inverse)
