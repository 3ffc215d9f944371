"""Disagreement of interests against its definition, pair by pair."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from legorec.nn.disagreement import disagreement


def by_hand(interests: np.ndarray) -> float:
    """The mean of cos(u_i, u_j) over all pairs i != j; 0 where a vector is zero."""
    cosines = []
    for i, one in enumerate(interests):
        for j, other in enumerate(interests):
            if i != j:
                lengths = np.linalg.norm(one) * np.linalg.norm(other)
                cosines.append(one @ other / lengths if lengths else 0.0)
    return float(np.mean(cosines))


def test_definition():
    interests = torch.randn(5, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    interests[1] *= 1e4
    interests[2] = 0.0
    interests[3, 1] = 0.0
    found = disagreement(interests)
    assert found.shape == (5,) and found[2] == 0
    np.testing.assert_allclose(found.numpy(), [by_hand(rows) for rows in interests.numpy()], rtol=1e-10)
    assert gradcheck(disagreement, interests[[0, 4]].requires_grad_())


def test_alike_opposite_and_apart():
    one = torch.tensor([1.0, 2.0, 2.0])
    found = disagreement(torch.stack([torch.stack([one, 3 * one]), torch.stack([one, -one])]))
    torch.testing.assert_close(found, torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(disagreement(torch.eye(4)[None]), torch.zeros(1))


def test_over_all_pairs_it_is_the_same_but_for_a_factor():
    interests = torch.randn(3, 5, 4, dtype=torch.float64)
    units = torch.nn.functional.normalize(interests, dim=2)
    over_all = (units @ units.transpose(1, 2)).mean((1, 2))
    torch.testing.assert_close(over_all, (4 * disagreement(interests) + 1) / 5)


@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-18, 1e-11, 1e-9])
def test_gradients_are_finite_whatever_the_length(length):
    interests = torch.randn(2, 3, 4)
    interests[0] *= length
    interests[1, 0] *= length
    interests.requires_grad_()
    found = disagreement(interests)
    found.sum().backward()
    assert found.isfinite().all() and interests.grad.isfinite().all()
    if length < 1e-10:
        assert abs(found[0]) < 1e-10


def test_a_single_interest_agrees_with_nothing():
    torch.testing.assert_close(disagreement(torch.randn(3, 1, 8)), torch.zeros(3))


def test_half_precision_is_summed_in_float32():
    interests = torch.randn(2, 8, 16).bfloat16()
    assert disagreement(interests).dtype == torch.float32
    torch.testing.assert_close(disagreement(interests), disagreement(interests.float()))
