"""The best items of the whole store by the answers to their prompts, user by user."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from legorec.batch import ClickBatch
from legorec.data.collate import collate
from legorec.data.histories import Histories
from legorec.processes import ALONE, Processes
from legorec.scorers.answer_pages import AnswerPages
from legorec.scorers.top_items import TopItems, best_of

PROMPTS = 1024  # that are made at a time: each page reads the beginning of the user's prompts once


def scores_of_all(
    answers: AnswerPages,
    history: np.ndarray,
    mask: np.ndarray,
    items: np.ndarray,
    *,
    user: int = -1,
    span: int = 0,
    marks_BH: np.ndarray | None = None,
) -> Tensor:
    """(n,) scores of some items for one user.

    Args:
        items: (n,) rows of the store.
        history: (1, H) the user's clicks, oldest first, and their ``mask``.
        span: the stored history that this is, where marks are read from there.
        marks_BH: (1, H) in place of those that are stored.
    """
    scores = []
    for start in range(0, len(items), PROMPTS):
        shown = items[start : start + PROMPTS][None]
        batch = one_user(history, mask, shown, user=user, span=span)
        scores.append(answers.scores(batch, marks_BH))
    return torch.cat(scores) if scores else torch.zeros(0)


def one_user(
    history: np.ndarray, mask: np.ndarray, shown: np.ndarray, *, user: int = -1, span: int = 0
) -> ClickBatch:
    """A batch of one example (1, K) without labels."""
    everywhere = np.ones(shown.shape, dtype=bool)
    nobody = np.zeros(1, dtype=np.int64)
    return collate(
        history, mask, shown, everywhere, np.zeros(shown.shape),
        user=np.array([user]), group=nobody, span=np.array([span]),
    )  # fmt: skip


def top_answers(
    answers: AnswerPages,
    histories: Histories,
    users: np.ndarray,
    spans: np.ndarray,
    k: int,
    num_items: int,
    *,
    advanced: Callable[[int, int], None] = lambda done, total: None,
    processes: Processes = ALONE,
) -> TopItems:
    """The ``k`` best items for each user, as ``legorec.scorers.top_items`` gives them; users are dealt out.

    Args:
        num_items: of the store, without generated ones.
        advanced: called after each turn with the users done and all users; may raise to stop.
    """
    count, k = len(users), min(k, num_items)
    items, best = np.zeros((count, k), dtype=np.int64), np.zeros((count, k), dtype=np.float32)
    whole = histories.whole()
    for turn, place in processes.turns(count):
        if place is not None:
            span = spans[place : place + 1]
            history, mask = histories.padded(span)
            scores = scores_of_all(
                answers, history, mask, np.arange(num_items), user=int(users[place]), span=int(span[0])
            )
            clicked = whole.padded(span)[0][whole.padded(span)[1]]
            scores[torch.from_numpy(clicked[clicked < num_items].astype(np.int64))] = -torch.inf
            chosen, values = best_of(scores[None], k)
            items[place], best[place] = chosen[0].cpu().numpy(), values[0].cpu().numpy()
        advanced(turn.stop, count)
    for result in (items, best):
        processes.merge(torch.from_numpy(result))
    return TopItems(items, best)
