"""The histories that prompts of users may be made from; nothing that dev or test ask for is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from legorec.data.ragged import Ragged

if TYPE_CHECKING:
    from legorec.data.store import Store
    from legorec.texts.scheme import Scheme


@dataclass(frozen=True)
class TrainingHistories:
    """One history of each user, from before what is learned or measured, without generated items.

    A user whose history has too few or too many clicks for the scheme, or who has none, is not ``asked``.
    """

    clicks: Ragged  # (U rows) item rows, oldest first
    asked: np.ndarray  # (n,) rows of the users, ascending

    @classmethod
    def of(cls, scheme: Scheme, store: Store, train: str = "train") -> TrainingHistories:
        """The history before the last training impression of each user, or before the first one that has
        ``least`` clicks; or, of whatever length, before the earliest impression in any split.

        The order is that of times, where the split has them, and of the impressions as they are stored.
        """
        user, span, time = _impressions(store, store.splits if scheme.history == "earliest" else (train,))
        spans = store.spans
        real = np.append(0, np.cumsum(~store.items.generated[store.histories], dtype=np.int64))
        lengths = real[spans[:, 1]] - real[spans[:, 0]]
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


def _impressions(store: Store, splits: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """User, span and time of the impressions of some splits; all times are 0 where a split has none."""
    tables = [store.interactions(split) for split in splits]
    user, span = (np.concatenate([getattr(each, name) for each in tables]) for name in ("user", "span"))
    if any(each.time is None for each in tables):
        return user, span, np.zeros(len(user), np.int64)
    return user, span, np.concatenate([np.asarray(each.time) for each in tables])


def _edges(ordered: np.ndarray, last: bool) -> np.ndarray:
    """(n,) True for the last, or the first, of equal values."""
    differ = ordered[1:] != ordered[:-1]
    some = np.ones(min(1, len(ordered)), dtype=bool)
    return np.concatenate([differ, some] if last else [some, differ])
