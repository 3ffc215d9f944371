"""The best items of the whole store for many users, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from legorec.batch import Clicks
from legorec.data.store import Interactions
from legorec.engine.progress import bar
from legorec.halving import Halving
from legorec.recipes.assemble import Data
from legorec.recipes.item_vectors import inference, item_pages
from legorec.recipes.session import Session
from legorec.recommender import Recommender, module_device
from legorec.scorers.clicks import BATCH_SIZE

if TYPE_CHECKING:
    from legorec.settings import Settings

SCORES = 1 << 22  # of a page of users and all items, which are kept until the best are known
CELLS = 16384  # pairs of user and item that are scored at a time, or with a click or an interest


class TopItems(NamedTuple):
    """Best first; where fewer items are left, the score is -inf."""

    item: np.ndarray  # (U, k) rows of the store
    score: np.ndarray  # (U, k) float32


def last_histories(data: Data, shown: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """The users of a split, ascending, and the history before the last impression of each in it.

    The last one is that of the latest time, where the split has times; among equals the one with the longest
    history.
    """
    time = np.zeros(len(shown)) if shown.time is None else shown.time
    order = np.lexsort((data.histories.whole().lengths[shown.span], time, shown.user))
    user = np.asarray(shown.user)[order]
    last = np.append(user[1:] != user[:-1], True)
    return user[last].astype(np.int64), np.asarray(shown.span)[order][last]


def top_items(
    model: Recommender,
    data: Data,
    users: np.ndarray,
    spans: np.ndarray,
    k: int,
    settings: Settings,
    session: Session,
) -> TopItems:
    """The ``k`` best items of the store for each user, clicked ones left out, ties in the order of the store.

    What ``TrainedRecommender.recommend`` gives for one. Beyond the result and the vectors of all items,
    memory does not grow with users or items. Pages of users are dealt out among several processes.

    Args:
        users: (U,) rows of the user table.
        spans: (U,) the history of each; of a click that it holds nothing is returned, however long ago.

    Raises:
        Interrupted: the run was asked to stop meanwhile.
        NoMemoryError: there is not the memory for one user.
    """
    processes, count = session.processes, len(users)
    table = _shared_table(model, data, settings, session)
    k = min(k, data.num_items)
    items, scores = np.zeros((count, k), dtype=np.int64), np.zeros((count, k), dtype=np.float32)
    size = max(1, min(settings.exp.evaluation.batch_size, SCORES // data.num_items))
    halved, clicked = Halving(size, BATCH_SIZE, session.tell), data.histories.whole()

    def keep(part: np.ndarray) -> None:
        with inference(model, settings):
            cells = CELLS * halved.size // size
            every = _scores(model, data, table, users[part], spans[part], cells)
            left_out, mask = clicked.padded(spans[part])
            row = torch.from_numpy(np.nonzero(mask)[0])
            every[row.to(every.device), torch.from_numpy(left_out[mask]).long().to(every.device)] = -torch.inf
            chosen, best = best_of(every, k)
        items[part], scores[part] = chosen.cpu().numpy(), best.cpu().numpy()

    with bar("users", count, shown=processes.is_first) as show:
        for turn, page in processes.turns(-(-count // size)):
            if page is not None:
                part = np.arange(page * size, min((page + 1) * size, count))
                list(halved.pages(part, keep, lambda each: f"row {users[each]} of the users"))
            show(min(turn.stop * size, count), count)
            session.stop.check()
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
    model: Recommender, data: Data, table: Tensor, users: np.ndarray, spans: np.ndarray, cells: int
) -> Tensor:
    """(U, N) float32, on the device."""
    history, mask = data.histories.padded(spans)
    items_UH, mask_UH = torch.from_numpy(history.astype(np.int64)), torch.from_numpy(mask)
    rows = items_UH.to(table.device)
    clicks = Clicks(
        vectors=table[rows],
        mask=mask_UH.to(table.device),
        items=rows,
        user=torch.from_numpy(users).to(table.device),
        states=model.states_of(items_UH, mask_UH),
    )
    encoded = model.encode_users(clicks)
    # What reads the history, or interests, holds one of these beside each item.
    beside = max(mask.shape[1] * model.reads_history, encoded.shape[1] if encoded.dim() > 2 else 1)
    size = max(1, cells // (len(users) * beside))
    scores = table.new_empty(len(users), len(table), dtype=torch.float32)
    for start in range(0, len(table), size):
        vectors = table[start : start + size].expand(len(users), -1, -1)
        shown = torch.arange(start, start + vectors.shape[1], device=table.device).expand(len(users), -1)
        everywhere = torch.ones_like(shown, dtype=torch.bool)
        scores[:, start : start + size] = model.score(encoded, vectors, clicks, shown, everywhere)
    return scores


def _shared_table(model: Recommender, data: Data, settings: Settings, session: Session) -> Tensor:
    """(N, D) the vectors of all items, which the first process encodes."""
    processes = session.processes
    pages = list(item_pages(model, data.num_items, settings, session))
    if processes.world == 1:
        return torch.cat(pages)
    own = ([*pages[0].shape[1:]], str(pages[0].dtype).removeprefix("torch.")) if pages else None
    width, dtype = processes.from_first(own)
    table = torch.zeros(data.num_items, *width, dtype=getattr(torch, dtype), device=module_device(model))
    if pages:
        table.copy_(torch.cat(pages))
    processes.merge(table)
    return table
