"""Random draws that are a pure function of (seed, purpose, place).

A generator with a state would have to be saved and restored; a counter-based one (Philox) is only given the
place. So batch i of a run is the same in one go, after a crash, and on another rank.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """The purpose of a draw; streams of different purposes never overlap."""

    SHUFFLE = 1
    NEGATIVES = 2
    DROPOUT = 3
    BASELINE = 4
    SHOTS = 5
    HELD_OUT = 6
    MASKED_TOKENS = 7


def generator(seed: int, purpose: Purpose, place: int) -> np.random.Generator:
    """The generator of one place (a batch, a pass over the data) of one purpose."""
    # The place goes into the highest counter word: 2**192 draws fit before the next place begins.
    return np.random.Generator(np.random.Philox(counter=[0, 0, 0, place], key=[seed, int(purpose)]))


def torch_seed(seed: int, place: int) -> int:
    """The seed of torch's own draws (dropout) at a place."""
    return int(generator(seed, Purpose.DROPOUT, place).integers(2**63 - 1))
