"""``gru``, ``lstur`` and ``narm`` user by user, with torch's own layers."""

import pytest
import torch

from legorec.user_encoders.gru import GRUUserEncoder
from legorec.user_encoders.lstur import LSTURUserEncoder
from legorec.user_encoders.narm import NARMUserEncoder

D = 6
LENGTHS = [3, 5, 0, 1, 0]
MASK = torch.arange(5) < torch.tensor(LENGTHS).unsqueeze(1)
USERS = torch.tensor([2, -1, 0, 2, -1])


@pytest.fixture(params=[1e4, torch.inf, torch.nan])
def clicks(request) -> torch.Tensor:
    drawn = torch.randn(5, 5, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.where(MASK.unsqueeze(2), drawn, request.param)


@pytest.mark.parametrize("hidden_dim, num_layers", [(None, 1), (D, 2), (4, 1)])
def test_gru(clicks, hidden_dim, num_layers):
    torch.manual_seed(0)
    encoder = GRUUserEncoder(D, hidden_dim=hidden_dim, num_layers=num_layers).double().eval()
    for row, length, user in zip(clicks, LENGTHS, encoder(clicks, MASK), strict=True):
        if length == 0:
            assert user.shape == (D,) and not user.any()
            continue
        last = encoder.clicks.layers(row[None, :length])[0][0, -1]
        torch.testing.assert_close(user, encoder.project.weight @ last if hidden_dim == 4 else last)


def lstur(mode: str, mask_rate: float = 0.5) -> LSTURUserEncoder:
    torch.manual_seed(0)
    encoder = LSTURUserEncoder(D, num_users=3, mode=mode, mask_rate=mask_rate).double()
    assert not encoder.users.any()
    encoder.users.data.normal_()
    return encoder


@pytest.mark.parametrize("mode", ["ini", "con"])
def test_lstur(clicks, mode):
    encoder = lstur(mode).eval()
    found = encoder(clicks, MASK, USERS)
    for row, length, index, user in zip(clicks, LENGTHS, USERS.tolist(), found, strict=True):
        long = encoder.users[index] if index >= 0 else torch.zeros(D).double()
        first = long if mode == "ini" else torch.zeros(D).double()
        last = encoder.clicks.layers(row[None, :length], first[None, None])[0][0, -1] if length else first
        expected = last if mode == "ini" else encoder.join.weight @ torch.cat([last, long])
        torch.testing.assert_close(user, expected)
    assert found[2].any() and not found[4].any()


@pytest.mark.parametrize("mode", ["ini", "con"])
def test_lstur_without_places(mode):
    encoder = lstur(mode).eval()
    found = encoder(torch.ones(5, 0, D).double(), MASK[:, :0], USERS)
    assert found[0].any() and torch.equal(found[0], found[3]) and not found[1].any()
    assert encoder(torch.ones(0, 0, D).double(), MASK[:0, :0], USERS[:0]).shape == (0, D)


@pytest.mark.parametrize("mode", ["ini", "con"])
def test_lstur_masks_whole_users_in_training(mode):
    encoder = lstur(mode)
    clicks = torch.randn(1, 1, D).double().expand(400, 4, D)
    seen = torch.ones(400, 4, dtype=torch.bool)
    known, unknown = (encoder.eval()(clicks[:1], seen[:1], torch.tensor([row])) for row in (1, -1))
    trained = encoder.train()(clicks, seen, torch.full((400,), 1))
    as_known = (trained - known).abs().amax(1) < 1e-9  # not scaled up
    as_unknown = (trained - unknown).abs().amax(1) < 1e-9
    assert (as_known ^ as_unknown).all()
    assert 0.4 < as_unknown.double().mean() < 0.6
    never = lstur(mode, mask_rate=0.0)
    torch.testing.assert_close(never.train()(clicks[:1], seen[:1], torch.tensor([1])), known)


@pytest.mark.parametrize("mode", ["ini", "con"])
def test_lstur_learns_from_a_table_of_zeros(clicks, mode):
    encoder = lstur(mode, mask_rate=0.0)
    encoder.users.data.zero_()
    encoder(clicks, MASK, USERS).sin().sum().backward()
    assert encoder.users.grad[[0, 2]].any(1).all()
    assert not encoder.users.grad[1].any()  # nobody here


def test_an_unknown_user_teaches_the_table_nothing(clicks):
    encoder = lstur("ini", mask_rate=0.0)
    encoder(clicks, MASK, torch.full((5,), -1)).sum().backward()
    assert not encoder.users.grad.any()


@pytest.mark.parametrize("hidden_dim", [None, 4])
def test_narm(clicks, hidden_dim):
    torch.manual_seed(0)
    encoder = NARMUserEncoder(D, hidden_dim=hidden_dim).double().eval()
    item = torch.randn(D).double()
    for row, length, user in zip(clicks, LENGTHS, encoder(clicks, MASK), strict=True):
        if length == 0:
            assert not user.any()
            continue
        states = encoder.clicks.layers(row[None, :length])[0][0]
        first, second, query = encoder.from_last.weight, encoder.from_each.weight, encoder.weigh.weight[0]
        weights = [query @ torch.sigmoid(first @ states[-1] + second @ state) for state in states]
        local = sum(weight * state for weight, state in zip(weights, states, strict=True))
        score = item @ encoder.decode.weight @ torch.cat([states[-1], local])
        torch.testing.assert_close(user @ item, score)


@pytest.mark.parametrize(
    "construct, message",
    [
        (lambda: GRUUserEncoder(D, num_layers=0), "`num_layers` must be at least 1, got 0"),
        (lambda: GRUUserEncoder(D, dropout=1.0), "`dropout` must be at least 0 and below 1, got 1.0"),
        (lambda: NARMUserEncoder(D, dropout=1.0), "`dropout` must be at least 0 and below 1, got 1.0"),
        (lambda: LSTURUserEncoder(D, 3, mask_rate=1.0), "`mask_rate` must be at least 0 and below 1, got 1"),
    ],
)
def test_refusals(construct, message):
    with pytest.raises(ValueError, match=message):
        construct()
