"""The vectors of all items of a store, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from legorec.engine.progress import bar
from legorec.halving import Halving
from legorec.recipes.session import Session
from legorec.recommender import Recommender, module_device
from legorec.scorers.clicks import ITEM_PAGE_SIZE

if TYPE_CHECKING:
    from legorec.settings import Settings


@contextmanager
def inference(model: Recommender, settings: Settings) -> Iterator[None]:
    """No gradients, in the precision in which the run ranks."""
    bf16 = settings.exp.policy.precision == "bf16"
    with torch.inference_mode(), torch.autocast(module_device(model).type, torch.bfloat16, enabled=bf16):
        yield


def item_pages(model: Recommender, num_items: int, settings: Settings, session: Session) -> Iterator[Tensor]:
    """Vectors of every item, in the order of the catalogue, in pages (N, D).

    With several processes the first one encodes; in the others there is nothing in it, and they wait.

    Raises:
        Interrupted: the run was asked to stop meanwhile.
        NoMemoryError: there is not the memory for one item.
    """
    size = settings.exp.evaluation.item_page_size
    halved, pages = Halving(size, ITEM_PAGE_SIZE, session.tell), torch.arange(num_items).split(size)

    def encode(page: Tensor) -> Tensor:
        with inference(model, settings):
            return model.encode_items(page)

    with bar("items", num_items, shown=session.processes.is_first) as show:
        for number, page in enumerate(pages):
            if session.processes.is_first:
                if number + 1 < len(pages):
                    model.prefetch(pages[number + 1][: halved.size])
                yield from halved.pages(page, encode, "row {} of the items".format)
            show(int(page[-1]) + 1 if len(page) else 0, num_items)
            session.stop.check()
