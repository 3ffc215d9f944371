"""``pooling`` and ``history``, which learn nothing."""

import pytest
import torch

from legorec.user_encoders.history import HistoryUserEncoder
from legorec.user_encoders.pooling import PoolingUserEncoder

D = 3
LENGTHS = [3, 5, 0, 1]
MASK = torch.arange(5) < torch.tensor(LENGTHS).unsqueeze(1)


@pytest.fixture(params=[1e4, torch.inf, torch.nan])
def clicks(request) -> torch.Tensor:
    # All below zero, where a maximum would show padding.
    drawn = -torch.rand(4, 5, D, generator=torch.Generator().manual_seed(0)) - 1.0
    return torch.where(MASK.unsqueeze(2), drawn, request.param).requires_grad_()


@pytest.mark.parametrize("mode", ["mean", "max"])
def test_pooling(clicks, mode):
    encoder = PoolingUserEncoder(D, mode=mode)
    users = encoder(clicks, MASK)
    for row, length, user in zip(clicks, LENGTHS, users, strict=True):
        seen = row[:length]
        expected = torch.zeros(D) if length == 0 else seen.mean(0) if mode == "mean" else seen.amax(0)
        torch.testing.assert_close(user, expected)
    users.sum().backward()
    assert clicks.grad.isfinite().all() and not clicks.grad[~MASK].any()
    for shape in ((4, 0), (0, 5), (0, 0)):
        nobody = encoder(torch.ones(*shape, D), torch.ones(shape, dtype=torch.bool))
        assert nobody.shape == (shape[0], D) and not nobody.any()


def test_history_is_what_was_clicked(clicks):
    encoder = HistoryUserEncoder(D)
    out = encoder(clicks, MASK)
    assert encoder.gives == "clicks" and encoder.output_dim == D and out.shape == clicks.shape
    assert torch.equal(out[MASK], clicks[MASK]) and not out[~MASK].any()
    out.sum().backward()
    assert torch.equal(clicks.grad, MASK.unsqueeze(2).expand_as(clicks).float())
    assert encoder(clicks[:, :0], MASK[:, :0]).shape == (4, 0, D)
