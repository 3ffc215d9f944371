"""Rows of item numbers -> a ClickBatch over the distinct items."""

from __future__ import annotations

import numpy as np
import torch

from legorec.batch import ClickBatch


def collate(
    history: np.ndarray,
    history_mask: np.ndarray,
    candidates: np.ndarray,
    candidate_mask: np.ndarray,
    labels: np.ndarray,
    *,
    user: np.ndarray,
    group: np.ndarray,
    span: np.ndarray,
    number: int = -1,
) -> ClickBatch:
    """Find the distinct items and refer to them by position.

    Args:
        history: (B, H) rows of the catalogue, ignored where ``history_mask`` is False.
        candidates: (B, K) in the same way.
    """
    used = np.concatenate([history[history_mask], candidates[candidate_mask]])
    items, place = np.unique(used, return_inverse=True)
    history_place = np.zeros(history.shape, dtype=np.int64)
    candidate_place = np.zeros(candidates.shape, dtype=np.int64)
    clicks = int(history_mask.sum())
    history_place[history_mask] = place[:clicks]
    candidate_place[candidate_mask] = place[clicks:]
    return ClickBatch(
        items=torch.from_numpy(items.astype(np.int64)),
        history=torch.from_numpy(history_place),
        history_mask=torch.from_numpy(history_mask),
        candidates=torch.from_numpy(candidate_place),
        candidate_mask=torch.from_numpy(candidate_mask),
        labels=torch.from_numpy(labels.astype(np.float32)),
        user=torch.from_numpy(np.asarray(user, dtype=np.int64)),
        group=torch.from_numpy(np.asarray(group, dtype=np.int64)),
        span=torch.from_numpy(np.asarray(span, dtype=np.int64)),
        number=number,
    )
