"""The best items of the whole store for many users, page by page."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from legorec.batch import Clicks
from legorec.data.histories import Histories
from legorec.halving import Halving
from legorec.nn.fused import gather_rows
from legorec.nn.sending import sent
from legorec.processes import ALONE, Processes
from legorec.recommender import Recommender
from legorec.scorers.paging import BATCH_SIZE, score_corpus, scores_for
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
    shown: np.ndarray | None = None,
    with_clicked: bool = False,
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
        shown: (n,) rows that may be returned, each once, ascending; None: all before ``num_real``.
        with_clicked: return clicked items too.
        batch_size: users at a time, at most.
        advanced: called after each turn with the users done and all users; may raise to stop.

    Raises:
        ValueError: users or spans are no rows, or not as many.
        NoMemoryError: there is not the memory for one user.
    """
    users, spans = _as_many(users, spans)
    if shown is None:
        shown = np.arange(len(table) if num_real is None else num_real)
    count, k = len(users), min(k, len(shown))
    items, scores = np.zeros((count, k), dtype=np.int64), np.zeros((count, k), dtype=np.float32)
    if not k:
        return TopItems(items, scores)
    size = max(1, min(batch_size, SCORES // len(shown)))
    halved, clicked = Halving(size, BATCH_SIZE, say), None if with_clicked else histories.whole()
    pages = _Pages(model, histories, clicked, table, _Ranked.of(table, shown))

    def keep(part: np.ndarray) -> None:
        every = pages.scores(users[part], spans[part], CELLS * halved.size // size)
        chosen, best = best_of(every, k)
        items[part], scores[part] = shown[chosen.cpu().numpy()], best.cpu().numpy()

    for turn, page in processes.turns(-(-count // size)):
        if page is not None:
            part = np.arange(page * size, min((page + 1) * size, count))
            list(halved.pages(part, keep, lambda each: f"row {users[each]} of the users"))
        advanced(min(turn.stop * size, count), count)
    for result in (items, scores):
        processes.merge(torch.from_numpy(result))
    return TopItems(items, scores)


def _as_many(users: np.ndarray, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    users, spans = whole_numbers(users, "users", "rows"), whole_numbers(spans, "spans", "rows")
    if len(users) != len(spans):
        raise ValueError(f"`users` and `spans` must be as many, got {len(users)} and {len(spans)}")
    return users, spans


def best_of(scores_UN: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Items (U, k) and their scores, best first; ties in the order of the items. All NaN if one is.

    Of many items, blocks are looked at first. The best k lie in the k blocks with the largest maxima, ties in
    the order of the blocks: another block's best has something better, or as good and before it, in each.
    """
    count, num_items = scores_UN.shape
    width = 1 << ((num_items // max(1, k)).bit_length() // 2 + 1)  # twice the root: both passes are short
    num_blocks = num_items // width
    if num_blocks < 4 * k or width < 4:
        return _best_of_few(scores_UN, k)
    edge = num_blocks * width
    maxima = scores_UN[:, :edge].unflatten(1, (num_blocks, width)).amax(2)
    blocks = _best_of_few(maxima, k)[0].sort(dim=1).values
    inside = torch.arange(width, device=blocks.device)
    items = (blocks[:, :, None] * width + inside).flatten(1)
    rest = torch.arange(edge, num_items, device=blocks.device).expand(count, -1)
    items = torch.cat([items, rest], dim=1)
    values = scores_UN.gather(1, items)
    if maxima.isnan().any():
        values[:, 0] = torch.nan
    chosen, best = _best_of_few(values, k)
    return items.gather(1, chosen), best


def _best_of_few(scores_UN: Tensor, k: int) -> tuple[Tensor, Tensor]:
    if scores_UN.isnan().any():
        shape = (len(scores_UN), k)
        return scores_UN.new_zeros(shape, dtype=torch.int64), scores_UN.new_full(shape, torch.nan)
    items = scores_UN.topk(k, sorted=False).indices
    least = scores_UN.gather(1, items).amin(1, keepdim=True)
    level = (scores_UN >= least).sum(1) > k  # topk took any of those that tie for the last place
    if level.any():
        items[level] = _first_of_ties(scores_UN[level], least[level], k)
    items = items.sort(dim=1).values
    values, order = scores_UN.gather(1, items).sort(dim=1, descending=True, stable=True)
    return items.gather(1, order), values


def _first_of_ties(scores_UN: Tensor, least_U1: Tensor, k: int) -> Tensor:
    """(U, k) the items above a score and the first of those that have it."""
    above, level = scores_UN > least_U1, scores_UN == least_U1
    left = k - above.sum(1, keepdim=True)
    chosen = above | (level & (level.cumsum(1, dtype=torch.int32) <= left))
    return chosen.nonzero()[:, 1].view(-1, k)


class _Ranked(NamedTuple):
    """The items that may be returned."""

    vectors: Tensor  # (n, D)
    rows: Tensor  # (n,) of the table, on its device
    place: np.ndarray  # (N,) of each row of the table among them; -1: it is not

    @classmethod
    def of(cls, table: Tensor, shown: np.ndarray) -> _Ranked:
        place = np.full(len(table), -1, dtype=np.int64)
        place[shown] = np.arange(len(shown))
        (rows,) = sent(table.device, np.ascontiguousarray(shown, dtype=np.int64))
        is_all = np.array_equal(shown, np.arange(len(shown)))
        return cls(table[: len(shown)] if is_all else table.index_select(0, rows), rows, place)

    def leave_out(self, scores_Un: Tensor, rows_UH: np.ndarray, mask_UH: np.ndarray) -> None:
        """Score rows of the table so that they are never returned, those of them that are here."""
        user, place = np.nonzero(mask_UH)[0], self.place[rows_UH[mask_UH]]
        scores_Un[sent(scores_Un.device, user[place >= 0], place[place >= 0])] = -torch.inf


@dataclass
class _Pages:
    """The scores of users, a page of them at a time and of what may be returned."""

    model: Recommender
    histories: Histories
    clicked: Histories | None  # whole ones, whose items are left out
    table: Tensor
    ranked: _Ranked
    _room: Tensor | None = None  # of every page in turn: fresh memory costs as much as the product

    def scores(self, users: np.ndarray, spans: np.ndarray, cells: int) -> Tensor:
        """(U, n) float32, on the device, until the next call; no page has more users than the first."""
        if self._room is None:
            self._room = scores_for(len(users), self.ranked.vectors)
        vectors, clicks = encoded(self.model, self.histories, self.table, users, spans)
        shown, rows, _ = self.ranked
        found = score_corpus(self.model, vectors, clicks, shown, rows, cells, self._room[: len(users)])
        if self.clicked is not None:
            self.ranked.leave_out(found, *self.clicked.padded(spans))
        return found


def encoded(
    model: Recommender, histories: Histories, table: Tensor, users: np.ndarray, spans: np.ndarray
) -> tuple[Tensor, Clicks]:
    """What the user encoder makes of some histories, and these; arguments as of ``top_items``."""
    history, mask = histories.padded(spans)
    rows = torch.from_numpy(history.astype(np.int64))
    vectors = gather_rows(table, *sent(table.device, rows))
    clicks = model.clicks_of(rows, torch.from_numpy(mask), torch.from_numpy(users), vectors)
    return model.encode_users(clicks), clicks
