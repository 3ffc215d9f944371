"""Where the values of some rows stand in an array that holds all rows end to end."""

from __future__ import annotations

import numpy as np


def row_places(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(sum of ``lengths``,) places: for each row those from its start on, row after row.

    The n-th place of the result belongs to some row r, and is ``starts[r]`` plus n less the lengths of the
    rows before r. That shift is one number a row, so it is repeated along the row and added to 0, 1, 2, ...

    Args:
        starts: (R,) the place of the first value of each row.
        lengths: (R,) int64, values of each row.
    """
    ends = lengths.cumsum()
    places = np.repeat(starts - (ends - lengths), lengths)
    places += np.arange(len(places))
    return places
