"""Where generated items stand in a user's histories: right after the clicks that they were made from."""

from __future__ import annotations

import numpy as np

from legorec.data.ragged import Ragged
from legorec.data.store import Store
from legorec.data.writing.rewritten import Pieces


def placed(store: Store, pieces: Pieces, made_from: Ragged, added: dict[int, np.ndarray]) -> Pieces:
    """The histories with the generated items of some users in them.

    An item is put after the last click that its prompt showed, so that it is in every history that knows that
    click, and in none from before: no impression sees what was made from a later click.

    Args:
        made_from: (U rows) the clicks of each user's prompt, without generated items.
        added: rows of the generated items, by the row of the user.
    """
    generated = store.items.generated
    place = np.full(len(pieces.user), -1, dtype=np.int64)
    lengths = np.zeros(len(pieces.user), dtype=np.int64)
    values = []
    for piece in np.flatnonzero(np.isin(pieces.user, np.fromiter(added, dtype=np.int64))).tolist():
        user, clicks = int(pieces.user[piece]), pieces.clicks[piece]
        after = place_after(clicks, made_from[user], generated[clicks])
        if after >= 0:
            place[piece], lengths[piece] = after, len(added[user])
            values.append(added[user])
    flat = np.concatenate(values) if values else np.empty(0, np.int64)
    return pieces.with_clicks(place, Ragged.from_lengths(flat, lengths))


def place_after(clicks: np.ndarray, shown: np.ndarray, generated: np.ndarray) -> int:
    """How many of ``clicks`` come before an item that was made from ``shown``; -1 where it has no place.

    The clicks may be all that were shown and more, or have lost the oldest of them to a window. Clicks that
    are the beginning of those shown are from an earlier time.

    Args:
        generated: True for clicks that are generated items, which are not among those shown.
    """
    real = clicks[~generated]
    if len(real) < len(shown) and np.array_equal(real, shown[: len(real)]):
        return -1
    count = len(shown)
    if not np.array_equal(real[:count], shown):
        count = _window(real, shown)
    if count < 0:
        return -1
    # After generated items that stand there from an earlier generation.
    ends = np.append(np.flatnonzero(~generated), len(clicks))
    return int(ends[count])


def _window(real: np.ndarray, shown: np.ndarray) -> int:
    """The last place before which the clicks end as those shown do, as far back as both go; -1 for none."""
    for stop in range(len(real), 0, -1):
        size = min(stop, len(shown))
        if size and np.array_equal(real[stop - size : stop], shown[len(shown) - size :]):
            return stop
    return -1
