"""The latest stored history of each user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from legorec.data.histories import Histories

if TYPE_CHECKING:
    from legorec.data.store import Interactions


def latest_spans(tables: Sequence[Interactions], histories: Histories, num_users: int) -> np.ndarray:
    """(U,) the span before the last impression of each user; -1 where a user has no impression.

    The last one is that of the latest time where all tables know times, otherwise one of the last table that
    the user is in; among equals the one with the longest history.
    """
    latest = np.full(num_users, -1, dtype=np.int64)
    if not tables:
        return latest
    times = [table.time for table in tables if table.time is not None]
    if len(times) < len(tables):
        times = [np.full(len(table), place) for place, table in enumerate(tables)]
    user = np.concatenate([table.user for table in tables])
    span = np.concatenate([table.span for table in tables])
    order = np.lexsort((histories.whole().lengths[span], np.concatenate(times), user))
    last = np.append(user[order][1:] != user[order][:-1], True) if len(order) else np.zeros(0, dtype=bool)
    latest[user[order][last]] = span[order][last]
    return latest
