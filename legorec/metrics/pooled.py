"""Pooled metrics: one value over all rows at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def _auc(click: np.ndarray, score: np.ndarray, _: float) -> float:
    """Over all rows: the share of pairs (click, non-click) where the click scores higher; a tie is one half.

    Unlike ``gauc`` it also compares rows of different groups, so it needs a sort of its own.
    """
    positives, negatives = np.sort(score[click]), np.sort(score[~click])
    if not len(positives) or not len(negatives):
        raise ValueError(
            f"`auc` needs clicks and non-clicks, got {len(positives)} and {len(negatives)}; leave it out"
        )
    lower = int(np.searchsorted(negatives, positives, "left").sum(dtype=np.int64))
    not_higher = int(np.searchsorted(negatives, positives, "right").sum(dtype=np.int64))
    return (lower + not_higher) / (2 * len(positives) * len(negatives))


def _logloss(click: np.ndarray, score: np.ndarray, _: float) -> float:
    """Over all rows: the mean of -log p, p the label's probability by sigmoid(score); scores are logits.

    Nothing is clipped: a confident mistake costs its logit, and an infinite logit makes the figure infinite.
    """
    return float(np.logaddexp(0.0, np.where(click, -score, score), dtype=np.float64).mean())


def _f1(click: np.ndarray, score: np.ndarray, threshold: float) -> float:
    """Over all rows: 2 TP / (2 TP + FP + FN), where sigmoid(score) >= t is a predicted click."""
    if not click.any():
        raise ValueError("`f1` needs at least one click, got none; leave it out")
    taken = score.astype(np.float64) >= np.log(threshold / (1.0 - threshold))
    return 2 * int((taken & click).sum()) / (int(taken.sum()) + int(click.sum()))


POOLED: dict[str, Callable[[np.ndarray, np.ndarray, float], float]] = {
    "auc": _auc,
    "logloss": _logloss,
    "f1": _f1,
}
