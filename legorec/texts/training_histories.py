"""The histories that prompts of users may be made from: those of the training split, and no other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from legorec.data.ragged import Ragged

if TYPE_CHECKING:
    from legorec.data.store import Store
    from legorec.texts.scheme import Scheme


@dataclass(frozen=True)
class TrainingHistories:
    """One training history of each user, without generated items.

    A user whose history has too few or too many clicks for the scheme, or who has none, is not ``asked``.
    """

    clicks: Ragged  # (U rows) item rows, oldest first
    asked: np.ndarray  # (n,) rows of the users, ascending

    @classmethod
    def of(cls, scheme: Scheme, store: Store, train: str = "train") -> TrainingHistories:
        """The history before the last training impression of each user, or before the first one that has
        ``least`` clicks.

        The order is that of times, where the split has them, and of the impressions as they are stored.
        """
        table, spans = store.interactions(train), store.spans
        real = np.append(0, np.cumsum(~store.items.generated[store.histories], dtype=np.int64))
        lengths = real[spans[:, 1]] - real[spans[:, 0]]
        user, span = np.asarray(table.user), np.asarray(table.span)
        time = np.zeros(len(user), np.int64) if table.time is None else np.asarray(table.time)
        if scheme.history == "first":
            enough = lengths[span] >= scheme.least
            user, span, time = user[enough], span[enough], time[enough]
        order = np.lexsort((lengths[span], time, user))
        chosen = order[_edges(user[order], last=scheme.history == "last")]
        count = len(store.users)
        bounds = np.zeros((count, 2), dtype=np.int64)
        bounds[user[chosen]] = spans[span[chosen]]
        flat = Ragged(store.histories, np.array([0, len(store.histories)]))
        whole = flat.slices(np.arange(count), bounds[:, 0], bounds[:, 1])
        clicks = whole.keep(~store.items.generated[whole.values])
        fits = clicks.lengths >= scheme.least
        if scheme.most is not None:
            fits &= clicks.lengths <= scheme.most
        return cls(clicks, np.flatnonzero(fits)[: scheme.limit])


def _edges(ordered: np.ndarray, last: bool) -> np.ndarray:
    """(n,) True for the last, or the first, of equal values."""
    differ = ordered[1:] != ordered[:-1]
    some = np.ones(min(1, len(ordered)), dtype=bool)
    return np.concatenate([differ, some] if last else [some, differ])
