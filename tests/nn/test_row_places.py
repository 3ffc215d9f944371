"""Where the values of some rows stand in an array that holds all rows end to end."""

import numpy as np
import pytest

from legorec.nn.row_places import row_places


@pytest.mark.parametrize("seed", range(5))
def test_the_places_are_those_of_each_row_in_turn(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 4, 9)
    starts = rng.integers(0, 50, 9)
    wanted = [
        place for start, count in zip(starts, lengths, strict=True) for place in range(start, start + count)
    ]
    assert row_places(starts, lengths).tolist() == wanted


def test_no_rows_and_empty_rows_have_no_places():
    nothing = np.zeros(0, dtype=np.int64)
    assert len(row_places(nothing, nothing)) == 0 and len(row_places(np.array([3, 4]), np.array([0, 0]))) == 0
