"""Score a split history by history: each is encoded once for all impressions that have it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from legorec.data.evaluation import Impressions
from legorec.halving import Halving
from legorec.nn.fused import gather_rows
from legorec.nn.sending import sent
from legorec.recommender import Recommender

CELLS = 64  # candidates of a page for each of its histories


@dataclass(frozen=True)
class HistoryOrder:
    """The histories of a split, shortest first, so that those of a page are of like length."""

    span: np.ndarray  # (S,) of each history
    user: np.ndarray  # (S,) whose it is
    rank: np.ndarray  # (I,) which of them an impression has
    impressions: np.ndarray  # (I,) in the order of their histories

    @classmethod
    def of(cls, data: Impressions) -> HistoryOrder:
        """The histories of a split."""
        spans, of_impression = np.unique(data.interactions.span, return_inverse=True)
        order = np.argsort(data.histories.lengths[spans], kind="stable")
        rank_of_span = np.empty(len(spans), dtype=np.int64)
        rank_of_span[order] = np.arange(len(spans))
        rank = rank_of_span[of_impression]
        user = np.empty(len(spans), dtype=np.int64)
        user[rank] = data.interactions.user
        return cls(spans[order], user, rank, np.argsort(rank, kind="stable"))

    def bounds(self, size: int) -> np.ndarray:
        """Where the impressions of each page of ``size`` histories begin, and where those of the last end."""
        return np.searchsorted(self.rank[self.impressions], np.arange(0, len(self.span) + size, size))


def score_histories(
    model: Recommender,
    data: Impressions,
    split: HistoryOrder,
    table: Tensor,
    position: np.ndarray,
    impressions: np.ndarray,
    halved: Halving,
    ranks: np.ndarray,
) -> list[tuple[np.ndarray, Tensor]]:
    """The candidates of all impressions that have some histories: their places and scores, page by page.

    Args:
        table: (n, D) vectors of the items that the split needs.
        position: (num_items,) where each catalogue row stands in ``table``.
        impressions: those of the whole page of histories, in the order of ``split``.
        halved: the size of a page of histories. One of candidates holds ``CELLS`` times as many, fewer where
            a predictor holds more than one vector beside each.
        ranks: the histories, a stretch of the page.
    """
    start, stop, device = int(ranks[0]), int(ranks[-1]) + 1, table.device
    history, mask = data.histories.padded(split.span[start:stop])
    history = np.where(mask, history, 0).astype(np.int64)
    clicks = model.clicks_of(
        torch.from_numpy(history),
        torch.from_numpy(mask),
        torch.from_numpy(split.user[start:stop]),
        gather_rows(table, *sent(device, position[history])),
    )
    users = model.encode_users(clicks)
    members = impressions[slice(*np.searchsorted(split.rank[impressions], (start, stop)))]
    cells = max(1, CELLS * halved.size // model.beside_candidate(users, clicks))
    pages = []
    for rows in data.pages(members, max_cells=cells):
        shown, place, candidate_mask = data.candidates(rows)
        read = (shown.astype(np.int64), candidate_mask) if model.reads_candidates else ()
        real = np.flatnonzero(candidate_mask)
        own, at, real_at, *shown_BK = sent(device, split.rank[rows] - start, position[shown], real, *read)
        # With one candidate a row these copies would be far larger than all else on the page.
        of_rows = clicks.of(own) if model.reads_history else None
        scores = model.score(users.index_select(0, own), gather_rows(table, at), of_rows, *shown_BK)
        pages.append((place[candidate_mask], real_scores(scores, real_at)))
    return pages


def real_scores(scores_BK: Tensor, places: Tensor) -> Tensor:
    """The scores of real candidates, row by row, from their places among all of the page."""
    flat = scores_BK.reshape(-1)
    return flat if len(places) == len(flat) else flat.index_select(0, places)
