"""Rank impressions with a recommender: fast (items and histories encoded once) or slow (batch by batch)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import Clicks, Ranking
from legorec.data.evaluation import Impressions
from legorec.halving import Halving
from legorec.nn.fused import gather_rows
from legorec.processes import ALONE, Processes
from legorec.recommender import Recommender, module_device

Advance = Callable[[int], None]
Page = tuple[np.ndarray, Tensor]  # places in stored order, scores
Turn = tuple[list[Page], int]  # what this process scored, and how many impressions all of them did

BATCH_SIZE, ITEM_PAGE_SIZE = "--exp.evaluation.batch_size", "--exp.evaluation.item_page_size"


def rank(
    model: nn.Module,
    data: Impressions,
    *,
    fast: bool = True,
    batch_size: int = 256,
    item_page_size: int = 1024,
    bf16: bool = False,
    progress: Advance = lambda impressions: None,
    processes: Processes = ALONE,
    say: Callable[[str], None] = warnings.warn,
) -> Ranking:
    """Scores of every candidate of a split, in stored order.

    ``fast`` is for a :class:`Recommender`: the scores of ``fast=False`` to 1e-5, at the cost of one encoding
    an item and one a history instead of one a slot. Any other model is called batch by batch.

    Args:
        batch_size: histories (fast) or impressions (slow) at a time.
        item_page_size: items encoded at a time (fast).
        progress: called with the number of impressions that were just done, which is 0 after a page of items.
        processes: whole pages are dealt out among several, the same pages as for one, so that every score is
            the same to the bit; all of them end with the whole ranking and call ``progress`` alike.
        say: told, in the process where it happens, when memory was short and pages were halved.

    Raises:
        NoMemoryError: there is not the memory for one item, history or impression.
    """
    device = module_device(model)
    was_training = model.training
    model.eval()
    places: list[np.ndarray] = []
    scores: list[Tensor] = []
    try:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            if fast and isinstance(model, Recommender):
                turns = _fast(model, data, device, batch_size, item_page_size, progress, processes, say)
            else:
                turns = _slow(model, data, device, batch_size, processes, say)
            for pages, impressions in turns:
                places += [place for place, _ in pages]
                scores += [score for _, score in pages]
                progress(impressions)
    finally:
        model.train(was_training)
    labels = np.asarray(data.interactions.labels)
    ordered = np.zeros(len(labels), dtype=np.float32)
    if scores:
        ordered[np.concatenate(places)] = torch.cat(scores).cpu().numpy()
    processes.merge(torch.from_numpy(ordered))
    return Ranking(group=data.group, label=labels, score=ordered, group_by=data.group_by)


def _slow(
    model: nn.Module,
    data: Impressions,
    device: torch.device,
    batch_size: int,
    processes: Processes,
    say: Callable[[str], None],
) -> Iterator[Turn]:
    halved = Halving(batch_size, BATCH_SIZE, say)

    def score(number: int, rows: np.ndarray) -> Page:
        batch, place = data.batch(rows, number=number)
        mask = batch.candidate_mask.numpy()
        return place[mask], _flat(model(batch.to(device)), mask, device)

    for turn, number in processes.turns(-(-len(data) // batch_size)):
        pages: list[Page] = []
        if number is not None:
            rows = np.arange(number * batch_size, min((number + 1) * batch_size, len(data)))
            if isinstance(model, Recommender):
                pages += halved.pages(rows, partial(score, number), "impression {} of the split".format)
            else:  # its scores may depend on the batch that a row is in, as those of RandomBaseline do
                pages.append(score(number, rows))
        yield pages, min(turn.stop * batch_size, len(data)) - turn.start * batch_size


@dataclass(frozen=True)
class _ByHistory:
    """A split by its histories: each once, and those of like length together, so that little is padded."""

    span: np.ndarray  # (S,) of each history
    user: np.ndarray  # (S,) whose it is
    rank: np.ndarray  # (I,) which of them an impression has
    impressions: np.ndarray  # (I,) in the order of their histories

    @classmethod
    def of(cls, data: Impressions) -> _ByHistory:
        """The histories of a split."""
        spans, of_impression = np.unique(data.interactions.span, return_inverse=True)
        order = np.argsort(data.histories.lengths[spans], kind="stable")
        rank_of_span = np.empty(len(spans), dtype=np.int64)
        rank_of_span[order] = np.arange(len(spans))
        rank = rank_of_span[of_impression]
        user = np.empty(len(spans), dtype=np.int64)
        user[rank] = data.interactions.user
        return cls(spans[order], user, rank, np.argsort(rank, kind="stable"))


def _fast(
    model: Recommender,
    data: Impressions,
    device: torch.device,
    batch_size: int,
    page_size: int,
    progress: Advance,
    processes: Processes,
    say: Callable[[str], None],
) -> Iterator[Turn]:
    position, table = _item_table(model, data, page_size, progress, processes, say)
    split = _ByHistory.of(data)
    bounds = np.searchsorted(
        split.rank[split.impressions], np.arange(0, len(split.span) + batch_size, batch_size)
    )
    halved = Halving(batch_size, BATCH_SIZE, say)

    def clicks_of(chosen: slice) -> Clicks:
        history, mask = data.histories.padded(split.span[chosen])
        history = np.where(mask, history, 0).astype(np.int64)
        items, mask_BH = torch.from_numpy(history), torch.from_numpy(mask)
        return Clicks(
            vectors=gather_rows(table, torch.from_numpy(position[history]).to(device)),
            mask=mask_BH.to(device),
            items=items.to(device),
            user=torch.from_numpy(split.user[chosen]).to(device),
            states=model.states_of(items, mask_BH),
        )

    def score_users(of_page: np.ndarray, ranks: np.ndarray) -> list[Page]:
        start, stop = int(ranks[0]), int(ranks[-1]) + 1
        clicks = clicks_of(slice(start, stop))
        users = model.encode_users(clicks)
        members = of_page[slice(*np.searchsorted(split.rank[of_page], (start, stop)))]
        # What reads the history, or interests, holds one of these beside each candidate.
        beside = max(clicks.mask.shape[1] * model.reads_history, users.shape[1] if users.dim() > 2 else 1)
        cells = max(1, 64 * halved.size // beside)
        pages: list[Page] = []
        for rows in data.pages(members, max_cells=cells):
            shown, place, candidate_mask = data.candidates(rows)
            own = torch.from_numpy(split.rank[rows] - start).to(device)
            candidates = gather_rows(table, torch.from_numpy(position[shown]).to(device))
            # With one candidate a row these copies would be far larger than all else on the page.
            history = clicks.of(own) if model.reads_history else None
            shown_BK: tuple[Tensor, ...] = ()
            if model.reads_candidates:
                shown_BK = tuple(
                    torch.from_numpy(each).to(device) for each in (shown.astype(np.int64), candidate_mask)
                )
            scores = model.score(users.index_select(0, own), candidates, history, *shown_BK)
            pages.append((place[candidate_mask], _flat(scores, candidate_mask, device)))
        return pages

    for turn, page in processes.turns(len(bounds) - 1):
        pages: list[Page] = []
        if page is not None:
            ranks = np.arange(page * batch_size, min((page + 1) * batch_size, len(split.span)))
            of_page = split.impressions[bounds[page] : bounds[page + 1]]
            run = partial(score_users, of_page)
            pages += chain.from_iterable(
                halved.pages(ranks, run, lambda each: f"row {split.user[each]} of the users")
            )
        yield pages, int(bounds[turn.stop] - bounds[turn.start])


def _item_table(
    model: Recommender,
    data: Impressions,
    page_size: int,
    progress: Advance,
    processes: Processes,
    say: Callable[[str], None],
) -> tuple[np.ndarray, Tensor]:
    """Vectors of the items that the split needs, and where each catalogue row stands among them."""
    num_items = data.num_items
    needed = data.histories.used_items(np.unique(data.interactions.span), num_items)
    needed[data.interactions.candidates.values] = True
    items = np.flatnonzero(needed)
    position = np.zeros(num_items, dtype=np.int64)
    position[items] = np.arange(len(items))
    pages = torch.from_numpy(items).split(page_size)
    vectors = []
    halved = Halving(page_size, ITEM_PAGE_SIZE, say)
    for _, page in processes.turns(len(pages)):
        if page is not None:
            if page + processes.world < len(pages):
                model.prefetch(pages[page + processes.world][: halved.size])
            # Within the page: the others, who meet this process behind it, may have halved nothing.
            parts = halved.pages(pages[page], model.encode_items, "row {} of the items".format)
            vectors.append(torch.cat(list(parts)))
        progress(0)
    return position, _gathered(vectors, len(items), page_size, processes, module_device(model))


def _gathered(
    vectors: list[Tensor], num_items: int, page_size: int, processes: Processes, device: torch.device
) -> Tensor:
    """The vectors of all pages, from what each process has encoded of them."""
    if processes.world == 1:
        return torch.cat(vectors)
    # There may be fewer pages than processes, and then one does not know what a vector looks like.
    own = ([*vectors[0].shape[1:]], str(vectors[0].dtype).removeprefix("torch.")) if vectors else None
    width, dtype = processes.from_first(own)
    table = torch.zeros(num_items, *width, dtype=getattr(torch, dtype), device=device)
    for turn, part in enumerate(vectors):
        start = (turn * processes.world + processes.rank) * page_size
        table[start : start + len(part)] = part
    processes.merge(table)
    return table


def _flat(scores: Tensor, mask: np.ndarray, device: torch.device) -> Tensor:
    """The scores of real candidates, row by row; where they are is known on the host."""
    if mask.all():
        return scores.reshape(-1)
    return scores.reshape(-1).index_select(0, torch.from_numpy(np.flatnonzero(mask)).to(device))
