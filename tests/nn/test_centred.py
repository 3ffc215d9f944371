"""Values less their mean, over their deviation."""

from __future__ import annotations

import pytest
import torch

from legorec.nn.centred import Centred


def test_values_are_standardised_by_what_was_measured() -> None:
    torch.manual_seed(0)
    values = torch.randn(300, 12) * torch.linspace(0.5, 80.0, 12) + 30.0
    made = Centred(12)
    assert torch.equal(made(values), values)
    mean, deviation = values.double().mean(0), values.double().std(0, correction=0)
    made.measure(mean, deviation)
    found = made(values)
    torch.testing.assert_close(found.mean(0), torch.zeros(12), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(0, correction=0), torch.ones(12))
    assert torch.equal(made(values[5:9]), found[5:9])  # whatever else is there
    assert not list(made.parameters()) and set(made.state_dict()) == {"mean", "deviation"}


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_a_coordinate_that_hardly_varies_is_not_blown_up(size: float) -> None:
    made = Centred(3)
    made.measure(torch.zeros(3).double(), torch.tensor([1.0, 1e-9, 1.0]).double() * size)
    assert made(torch.full((1, 3), size)).abs().max() < 200
    made.measure(torch.ones(3).double(), torch.zeros(3).double())
    assert torch.equal(made(torch.full((2, 3), 3.0)), torch.full((2, 3), 2.0))
