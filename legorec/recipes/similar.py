"""Items whose vectors are alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from legorec.nn.sending import sent
from legorec.recipes.outputs.recommended import Recommendations, Recommended
from legorec.scorers.top_items import SCORES, best_of

Likeness = Literal["cosine", "product"]
LIKENESSES: tuple[Likeness, ...] = ("cosine", "product")


def is_one(items: Any) -> bool:
    """Whether a single item is given: its raw id, or its fields."""
    return isinstance(items, str | Mapping)


def most_alike(
    names: Any,
    table_ND: Tensor,
    shown: np.ndarray,
    vectors_QD: Tensor,
    own: Sequence[int],
    k: int,
    likeness: Likeness,
) -> list[Recommendations]:
    """The ``k`` items that are most like each of some vectors, best first, ties in the order of the store.

    Args:
        names: rows -> raw ids.
        table_ND: vectors of all items.
        shown: (n,) rows that may be given.
        own: the row of each vector, which is not given; -1: it has none.
    """
    (rows,) = sent(table_ND.device, shown)
    candidates, asked = table_ND.index_select(0, rows).float(), vectors_QD.float()
    if likeness == "cosine":
        candidates, asked = F.normalize(candidates), F.normalize(asked)
    place = {int(row): where for where, row in enumerate(shown)}
    found: list[Recommendations] = []
    for start in range(0, len(asked), size := max(1, SCORES // max(1, len(shown)))):
        scores = asked[start : start + size] @ candidates.T
        for row, each in enumerate(own[start : start + size]):
            if each in place:
                scores[row, place[each]] = -torch.inf
        chosen, values = best_of(scores, min(k, len(shown)))
        ids = names(shown[chosen.cpu().numpy()])
        for raw_ids, best in zip(ids.tolist(), values.tolist(), strict=True):
            pairs = zip(raw_ids, best, strict=True)
            found.append(Recommendations(Recommended(*pair) for pair in pairs if pair[1] > -np.inf))
    return found
