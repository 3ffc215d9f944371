"""Dropout keeps the share, the scale and the seed."""

import pytest
import torch

from legorec.nn.dropout import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_share_and_scale(rate, dtype):
    torch.manual_seed(0)
    values = torch.full((1000, 203), 2.0, dtype=dtype, requires_grad=True)
    out = Dropout(rate)(values)
    kept = out != 0
    assert abs(kept.double().mean().item() - (1 - rate)) < 0.005
    assert abs(kept.double().mean(0) - (1 - rate)).max() < 0.08, (
        "some column is dropped more often than others"
    )
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 2.0 / (1 - rate)), rtol=1e-2, atol=0)
    out.sum().backward()
    assert torch.equal(values.grad != 0, kept)


def test_seed_repeats_it_and_draws_differ():
    values = torch.ones(64, 64)
    dropout = Dropout(0.3)
    torch.manual_seed(1)
    first, second = dropout(values), dropout(values)
    torch.manual_seed(1)
    assert torch.equal(first, dropout(values))
    assert not torch.equal(first, second)


def test_nothing_is_dropped_in_evaluation_or_at_rate_zero():
    values = torch.ones(4, 4)
    assert Dropout(0.5).eval()(values) is values
    assert Dropout(0.0)(values) is values


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rate_is_a_share(rate):
    with pytest.raises(ValueError, match=f"`dropout` must be at least 0 and below 1, got {rate}"):
        Dropout(rate)
