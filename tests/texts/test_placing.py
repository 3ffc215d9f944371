"""Generated items come right after the clicks that they were made from."""

from __future__ import annotations

import numpy as np
import pytest

from legorec.texts.placing import place_after

FROM = 90  # rows of generated items


@pytest.mark.parametrize(
    ("clicks", "shown", "place"),
    [
        ([1, 2, 3], [1, 2, 3], 3),
        ([1, 2, 3, 4], [1, 2, 3], 3),
        ([1, 2], [1, 2, 3], -1),  # from an earlier time
        ([], [1], -1),
        ([2, 3, 4], [1, 2, 3], 2),  # the oldest click was lost to a window
        ([3, 4], [1, 2, 3], 1),
        ([4, 5], [1, 2, 3], -1),
        ([1, 2, 1, 3], [1, 2, 1], 3),
        ([1], [1, 2, 1], -1),  # the beginning, though it ends alike
        ([5, 2, 1], [1, 2, 1], -1),
        ([2, 1, 5], [1, 2, 1], 2),
        ([1, 2, 95, 3], [1, 2], 3),  # after those of an earlier generation
        ([95, 1], [1], 2),
        ([1, 2], [], 0),
        ([95, 1, 2], [], 1),
    ],
)
def test_the_place(clicks: list[int], shown: list[int], place: int) -> None:
    row = np.array(clicks, dtype=np.int64)
    assert place_after(row, np.array(shown, dtype=np.int64), row >= FROM) == place
