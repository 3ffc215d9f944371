"""``caser`` user by user, with torch's own convolutions."""

import pytest
import torch
from torch import nn

from legorec.user_encoders.caser import CaserUserEncoder

D = 4
LENGTHS = [3, 7, 0, 1, 0, 4]
MASK = torch.arange(7) < torch.tensor(LENGTHS).unsqueeze(1)
USERS = torch.tensor([2, -1, 0, 2, -1, 1])


@pytest.fixture(params=[1e4, torch.inf, torch.nan])
def clicks(request) -> torch.Tensor:
    drawn = torch.randn(6, 7, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.where(MASK.unsqueeze(2), drawn, request.param)


def caser(**changes) -> CaserUserEncoder:
    torch.manual_seed(0)
    arguments = {"length": 3, "num_horizontal": 5, "num_vertical": 2, "dropout": 0.0} | changes
    encoder = CaserUserEncoder(D, num_users=3, **arguments).double()
    assert not encoder.users.any()
    encoder.users.data.normal_()
    return encoder


def by_hand(encoder: CaserUserEncoder, history: torch.Tensor, user: int) -> torch.Tensor:
    """nn.Conv2d over the image of the latest clicks, the last one in the last row."""
    image = torch.zeros(1, 1, encoder.length, D).double()
    latest = history[-encoder.length :]
    z = torch.zeros(D).double()
    if len(latest):
        image[0, 0, -len(latest) :] = latest
        seen = []
        for height, filters in enumerate(encoder.horizontal, 1):
            conv = nn.Conv2d(1, len(filters.bias), (height, D)).double()
            conv.weight.data = filters.weight.view(-1, 1, height, D)
            conv.bias.data = filters.bias
            seen.append(torch.relu(conv(image)).flatten(2).amax(2)[0])
        conv = nn.Conv2d(1, len(encoder.vertical.weight), (encoder.length, 1), bias=False).double()
        conv.weight.data = encoder.vertical.weight[:, None, :, None]
        seen.append(conv(image)[0, :, 0].T.flatten())  # click by click: which order is a matter of naming
        z = torch.relu(encoder.dense(torch.cat(seen)))
    known = encoder.users[user] if user >= 0 else torch.zeros(D).double()
    return encoder.join.weight @ torch.cat([z, known])


@pytest.mark.parametrize("length", [1, 3, 9])
def test_formula(clicks, length):
    encoder = caser(length=length).eval()
    found = encoder(clicks, MASK, USERS)
    for row, count, index, user in zip(clicks, LENGTHS, USERS.tolist(), found, strict=True):
        torch.testing.assert_close(user, by_hand(encoder, row[:count], index))
    assert found[2].any() and not found[4].any()


def test_only_the_latest_clicks_are_seen(clicks):
    encoder = caser().eval()
    latest = encoder(clicks[1:2, 4:], MASK[1:2, 4:], USERS[1:2])
    torch.testing.assert_close(encoder(clicks, MASK, USERS)[1:2], latest)


def test_without_places():
    encoder = caser().eval()
    found = encoder(torch.ones(6, 0, D).double(), MASK[:, :0], USERS)
    assert found[0].any() and torch.equal(found[0], found[3]) and not found[1].any()
    assert encoder(torch.ones(0, 7, D).double(), MASK[:0], USERS[:0]).shape == (0, D)


def test_learns_from_a_table_of_zeros(clicks):
    encoder = caser()
    encoder.users.data.zero_()
    clicks.requires_grad_()
    encoder(clicks, MASK, USERS).sin().sum().backward()
    assert encoder.users.grad.any(1).all()
    assert clicks.grad.isfinite().all() and not clicks.grad[~MASK].any()


def test_masks_whole_users_in_training():
    encoder = caser(mask_rate=0.5)
    clicks = torch.randn(1, 1, D).double().expand(400, 4, D)
    seen = torch.ones(400, 4, dtype=torch.bool)
    known, unknown = (encoder.eval()(clicks[:1], seen[:1], torch.tensor([row])) for row in (1, -1))
    trained = encoder.train()(clicks, seen, torch.full((400,), 1))
    as_unknown = (trained - unknown).abs().amax(1) < 1e-9
    assert (((trained - known).abs().amax(1) < 1e-9) ^ as_unknown).all()
    assert 0.4 < as_unknown.double().mean() < 0.6


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"length": 0}, "`length` must be at least 1, got 0"),
        ({"num_horizontal": 0}, "`num_horizontal` must be at least 1, got 0"),
        ({"num_vertical": -1}, "`num_vertical` must be at least 1, got -1"),
        ({"mask_rate": 1.0}, "`mask_rate` must be at least 0 and below 1, got 1.0"),
        ({"dropout": 1.0}, "`dropout` must be at least 0 and below 1, got 1.0"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        CaserUserEncoder(D, num_users=3, **arguments)
