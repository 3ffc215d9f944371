"""Draws are a pure function of seed, purpose and place, and no two of them share a stream."""

import numpy as np
import pytest
import torch

from legorec.data.draws import Purpose, generator, torch_seed


def draws(seed: int, purpose: Purpose, place: int) -> list[int]:
    return generator(seed, purpose, place).integers(2**63, size=50).tolist()


def test_asked_again_it_draws_the_same():
    before = draws(3, Purpose.SHUFFLE, 7)
    draws(3, Purpose.SHUFFLE, 8)
    np.random.seed(0)
    assert draws(3, Purpose.SHUFFLE, 7) == before


def test_streams_do_not_overlap():
    places = [
        (seed, purpose, place) for seed in (0, 1, 2023) for purpose in Purpose for place in (0, 1, 2, 500)
    ]
    drawn = [value for place in places for value in draws(*place)]
    assert len(set(drawn)) == len(drawn) == 50 * len(places)


def test_a_place_is_never_reached_by_drawing_on():
    """The counter of a place lies 2**192 draws behind the one before."""
    bits = np.random.Philox(counter=[0, 0, 0, 1], key=[3, int(Purpose.SHUFFLE)])
    bits.advance(-(2**192))
    wanted = np.random.Generator(bits).integers(2**63, size=50).tolist()
    assert wanted == draws(3, Purpose.SHUFFLE, 0)


def test_purposes_have_numbers_of_their_own():
    assert len({int(purpose) for purpose in Purpose}) == len(Purpose) == len(Purpose.__members__)


@pytest.mark.parametrize("seed, place", [(0, 0), (2**63 - 1, 10**9)])
def test_torch_seed_is_one_that_torch_takes(seed, place):
    found = torch_seed(seed, place)
    assert found == torch_seed(seed, place)
    torch.manual_seed(found)


def test_torch_seeds_differ():
    assert len({torch_seed(seed, place) for seed in range(5) for place in range(200)}) == 1000
