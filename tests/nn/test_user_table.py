"""Rows of users that are known, and zero for strangers."""

from __future__ import annotations

import pytest
import torch

from legorec.nn.user_table import known_users

USERS = torch.tensor([2, -1, 0, 2])


def test_a_stranger_is_zero_and_gets_no_gradient() -> None:
    table = (torch.arange(6.0) + 1).view(3, 2).requires_grad_()
    found = known_users(table, USERS, mask_rate=0.0)
    assert found.tolist() == [[5, 6], [0, 0], [1, 2], [5, 6]]
    found.sum().backward()
    assert table.grad is not None and table.grad.tolist() == [[1, 1], [0, 0], [2, 2]]


@pytest.mark.parametrize("rate", [0.25, 0.75])
def test_whole_users_are_masked_at_the_rate_and_nothing_is_scaled(rate: float) -> None:
    torch.manual_seed(0)
    table = torch.full((3, 8), 7.0)
    found = known_users(table, torch.arange(3).repeat(2000), rate)
    assert set(found.unique().tolist()) == {0.0, 7.0}
    assert torch.equal(found.amax(1), found.amin(1))  # all of a user or nothing
    assert (found[:, 0] == 0).double().mean().item() == pytest.approx(rate, abs=0.03)


def test_all_are_masked_at_a_rate_of_one_and_strangers_stay_strangers() -> None:
    assert not known_users(torch.ones(3, 2), USERS, 1.0).any()
    assert not known_users(torch.ones(3, 2), torch.full((500,), -1), 0.5).any()
