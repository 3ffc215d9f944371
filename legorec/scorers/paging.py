"""Vectors of items and scores of catalogue rows, in pages that fit into memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from legorec.batch import Clicks
from legorec.halving import Halving
from legorec.nn.device import module_device
from legorec.nn.sending import sent
from legorec.processes import ALONE, Processes
from legorec.recommender import Recommender

NUMBERS = 32  # in place of a vector: a product of matrices holds a number for each pair, and wants wide tiles
BATCH_SIZE, ITEM_PAGE_SIZE = "--exp.evaluation.batch_size", "--exp.evaluation.item_page_size"


@dataclass
class ItemPages:
    """The vectors of some items, encoded in pages that are dealt out among the processes.

    Args:
        items: (n,) rows of the catalogue, on the host.
        device: where the vectors are kept; None: where the model is.
        say: called when memory was short and pages were halved.
    """

    model: Recommender
    items: Tensor
    page_size: int
    device: torch.device | None = None
    processes: Processes = ALONE
    say: Callable[[str], None] = warnings.warn
    _vectors: list[Tensor] = field(default_factory=list)

    def turns(self) -> Iterator[int]:
        """Encode the pages, those of all processes turn by turn; yields the items of each turn.

        Raises:
            NoMemoryError: there is not the memory for one item.
        """
        pages, model = self.items.split(self.page_size), self.model
        halved = Halving(self.page_size, ITEM_PAGE_SIZE, self.say)
        for turn, page in self.processes.turns(len(pages)):
            if page is not None:
                if page + self.processes.world < len(pages):
                    model.prefetch(pages[page + self.processes.world][: halved.size])
                # Within the page: the others, who meet this process after it, may have halved nothing.
                parts = halved.pages(pages[page], model.encode_items, "row {} of the items".format)
                self._vectors.append(torch.cat([part.to(self.device or part.device) for part in parts]))
            yield sum(len(pages[each]) for each in turn)

    def table(self) -> Tensor:
        """(n, D) the vectors of all pages, after the last turn; every process has all of them."""
        device = self.device or module_device(self.model)
        return joined(self._vectors, len(self.items), self.page_size, device, self.processes)


def joined(
    pages: Sequence[Tensor], count: int, page_size: int, device: torch.device, processes: Processes
) -> Tensor:
    """(count, ...) the rows of all pages; every process has all of them.

    Args:
        pages: those of this process, one of each of its turns; all are ``page_size`` long but the last.
        device: where the result is kept, with several processes.
    """
    if processes.world == 1:
        return torch.cat([*pages])
    # There may be fewer pages than processes, and then one does not know what a vector looks like.
    own = ([*pages[0].shape[1:]], str(pages[0].dtype).removeprefix("torch.")) if pages else None
    width, dtype = processes.from_first(own)
    table = torch.zeros(count, *width, dtype=getattr(torch, dtype), device=device)
    for turn, part in enumerate(pages):
        start = (turn * processes.world + processes.rank) * page_size
        table[start : start + len(part)] = part
    processes.merge(table)
    return table


def score_rows(
    model: Recommender,
    users: Tensor,
    clicks: Clicks,
    vectors_ND: Tensor,
    rows_N: Tensor,
    out: Tensor | None = None,
) -> Tensor:
    """(U, N) scores of the same N items for each of some users.

    Args:
        users: what ``model.encode_users(clicks)`` gives.
        rows_N: the items' rows in the catalogue.
        out: what is written to and returned.
    """
    if model.scores_by_product:
        return model.score_all(users, vectors_ND, out=out)
    count = len(clicks.user)
    rows_UN = sent(vectors_ND.device, rows_N)[0].expand(count, -1)
    everywhere = torch.ones_like(rows_UN, dtype=torch.bool)
    scores = model.score(users, vectors_ND.expand(count, -1, -1), clicks, rows_UN, everywhere)
    return scores if out is None else out.copy_(scores)


def rows_at_once(model: Recommender, users: Tensor, clicks: Clicks, cells: int) -> int:
    """How many items ``score_rows`` takes so that it holds at most ``cells`` vectors; one at least."""
    return max(1, cells // (len(clicks.user) * model.beside_candidate(users, clicks)))


def score_corpus(
    model: Recommender,
    users: Tensor,
    clicks: Clicks,
    vectors_ND: Tensor,
    rows_N: Tensor,
    cells: int,
    out: Tensor | None = None,
) -> Tensor:
    """``score_rows`` in pages of items that hold at most ``cells`` vectors: (U, N) float32, on the device.

    Args:
        out: what is written to and returned.
    """
    size = rows_at_once(model, users, clicks, cells)
    if model.scores_by_product and len(clicks.user) > 1:
        size *= NUMBERS
    scores = scores_for(len(clicks.user), vectors_ND) if out is None else out
    for start in range(0, len(vectors_ND), size):
        page = slice(start, start + size)
        score_rows(model, users, clicks, vectors_ND[page], rows_N[page], out=scores[:, page])
    return scores


def scores_for(count: int, vectors_ND: Tensor) -> Tensor:
    """Room for (count, N) scores, unwritten."""
    return vectors_ND.new_empty(count, len(vectors_ND), dtype=torch.float32)
