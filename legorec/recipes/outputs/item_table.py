"""The vectors of all items of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from legorec.engine.rank import evaluating
from legorec.recipes.outputs.measure import watched
from legorec.recipes.outputs.session import Session
from legorec.recommender import Recommender
from legorec.scorers.paging import ItemPages

if TYPE_CHECKING:
    from legorec.settings import Settings


def item_table(
    model: Recommender,
    num_items: int,
    settings: Settings,
    session: Session,
    device: torch.device | None = None,
) -> Tensor:
    """(N, D) in the order of the catalogue, in the precision of the run; every process has all of it.

    Args:
        device: where it is kept; None: where the model is.

    Raises:
        Interrupted: the run was asked to stop meanwhile.
        NoMemoryError: there is not the memory for one item.
    """
    pages = ItemPages(
        model,
        torch.arange(num_items),
        settings.exp.evaluation.item_page_size,
        device,
        session.processes,
        session.tell,
    )
    bf16 = settings.exp.policy.precision == "bf16"
    with watched("items", num_items, session) as advance, evaluating(model, bf16):
        for count in pages.turns():
            advance(count)
    return pages.table()
