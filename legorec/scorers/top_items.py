"""The best items of the whole store for many users, page by page."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from legorec.data.histories import Histories
from legorec.halving import Halving
from legorec.nn.fused import gather_rows
from legorec.nn.sending import sent
from legorec.processes import ALONE, Processes
from legorec.recommender import Recommender
from legorec.scorers.paging import BATCH_SIZE, score_corpus
from legorec.sequences import whole_numbers

SCORES = 1 << 22  # of a page of users and all items, which are kept until the best are known
CELLS = 16384  # pairs of user and item that are scored at a time, or with a click or an interest


class TopItems(NamedTuple):
    """Best first; where fewer items are left, the score is -inf."""

    item: np.ndarray  # (U, k) rows of the store
    score: np.ndarray  # (U, k) float32


def top_items(
    model: Recommender,
    histories: Histories,
    table: Tensor,
    users: np.ndarray,
    spans: np.ndarray,
    k: int,
    *,
    num_real: int | None = None,
    batch_size: int = 256,
    advanced: Callable[[int, int], None] = lambda done, total: None,
    processes: Processes = ALONE,
    say: Callable[[str], None] = warnings.warn,
) -> TopItems:
    """The ``k`` best items of the store for each user, clicked ones left out, ties in the order of the store.

    What ``TrainedRecommender.recommend`` gives for one user. Beyond the result and the vectors of all items,
    memory does not grow with users or items. Pages of users are dealt out among several processes.

    Args:
        table: (num_items, D) vectors of every item.
        users: (U,) rows of the user table.
        spans: (U,) the history of each; no click in it is returned, however long ago.
        num_real: items from this row on are generated ones, and never returned.
        batch_size: users at a time, at most.
        advanced: called after each turn with the users done and all users; may raise to stop.

    Raises:
        ValueError: users or spans are no rows, or not as many.
        NoMemoryError: there is not the memory for one user.
    """
    users, spans = whole_numbers(users, "users", "rows"), whole_numbers(spans, "spans", "rows")
    if len(users) != len(spans):
        raise ValueError(f"`users` and `spans` must be as many, got {len(users)} and {len(spans)}")
    count, num_items = len(users), len(table)
    num_real = num_items if num_real is None else num_real
    k = min(k, num_real)
    items, scores = np.zeros((count, k), dtype=np.int64), np.zeros((count, k), dtype=np.float32)
    size = max(1, min(batch_size, SCORES // num_items))
    halved, clicked = Halving(size, BATCH_SIZE, say), histories.whole()

    def keep(part: np.ndarray) -> None:
        cells = CELLS * halved.size // size
        every = _scores(model, histories, table, users[part], spans[part], cells)
        left_out, mask = clicked.padded(spans[part])
        every[sent(every.device, np.nonzero(mask)[0], left_out[mask].astype(np.int64))] = -torch.inf
        every[:, num_real:] = -torch.inf
        chosen, best = best_of(every, k)
        items[part], scores[part] = chosen.cpu().numpy(), best.cpu().numpy()

    for turn, page in processes.turns(-(-count // size)):
        if page is not None:
            part = np.arange(page * size, min((page + 1) * size, count))
            list(halved.pages(part, keep, lambda each: f"row {users[each]} of the users"))
        advanced(min(turn.stop * size, count), count)
    for result in (items, scores):
        processes.merge(torch.from_numpy(result))
    return TopItems(items, scores)


def best_of(scores_UN: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Items (U, k) and their scores, best first; ties in the order of the items. All NaN if one is."""
    if scores_UN.isnan().any():
        shape = (len(scores_UN), k)
        return scores_UN.new_zeros(shape, dtype=torch.int64), scores_UN.new_full(shape, torch.nan)
    # topk takes any of those that tie for the last place.
    least = scores_UN.topk(k).values[:, -1:]
    above, level = scores_UN > least, scores_UN == least
    left = k - above.sum(1, keepdim=True)
    chosen = above | (level & (level.cumsum(1, dtype=torch.int32) <= left))
    items = chosen.nonzero()[:, 1].view(-1, k)
    values, order = scores_UN.gather(1, items).sort(dim=1, descending=True, stable=True)
    return items.gather(1, order), values


def _scores(
    model: Recommender, histories: Histories, table: Tensor, users: np.ndarray, spans: np.ndarray, cells: int
) -> Tensor:
    """(U, N) float32, on the device."""
    history, mask = histories.padded(spans)
    rows = torch.from_numpy(history.astype(np.int64))
    vectors = gather_rows(table, *sent(table.device, rows))
    clicks = model.clicks_of(rows, torch.from_numpy(mask), torch.from_numpy(users), vectors)
    every = torch.arange(len(table), device=table.device)
    return score_corpus(model, model.encode_users(clicks), clicks, table, every, cells)
