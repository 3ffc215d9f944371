"""Layers over pairs against the plain layers over pairs that were joined."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from legorec.nn.dropout import Dropout
from legorec.nn.mlp import MLP, PairScore, join_pairs, pair_linear
from legorec.nn.sizes import check_positive

B, K, D, A = 3, 5, 4, 7


@pytest.fixture
def user() -> torch.Tensor:
    return torch.randn(B, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def items() -> torch.Tensor:
    return torch.randn(B, K, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_join_pairs(user, items):
    joined = join_pairs(user, items)
    for row in range(B):
        for column in range(K):
            assert torch.equal(joined[row, column], torch.cat([user[row], items[row, column]]))


@pytest.mark.parametrize("bias", [True, False])
def test_pair_linear_is_linear_of_the_joined(user, items, bias):
    layer = nn.Linear(2 * D, A, bias=bias).double()
    leaves = [user.requires_grad_(), items.requires_grad_(), *layer.parameters()]
    split = pair_linear(user, items, layer.weight, layer.bias)
    plain = layer(join_pairs(user, items))
    torch.testing.assert_close(split, plain)
    weights = torch.randn_like(plain)
    for one, other in zip(
        torch.autograd.grad((split * weights).sum(), leaves),
        torch.autograd.grad((plain * weights).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_a_user_may_differ_from_item_to_item(items):
    layer = nn.Linear(2 * D, A).double()
    users = items.flip(1)
    torch.testing.assert_close(
        pair_linear(users, items, layer.weight, layer.bias), layer(torch.cat([users, items], 2))
    )


def test_a_users_half_is_computed_once(user, items):
    mlp = MLP(2 * D, [A, 2]).double()
    with FlopCounterMode(display=False) as counter:
        mlp.pairs(user, items)
    assert counter.get_total_flops() == 2 * (B * D * A + B * K * D * A + B * K * A * 2)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_mlp_is_its_layers(user, items, activation):
    mlp = MLP(2 * D, [A, 3], dropout=0.5, activation=activation).double().eval()
    assert mlp.output_dim == 3
    first, second = (layer for layer in mlp.modules() if isinstance(layer, nn.Linear))
    function = getattr(torch, activation)
    joined = join_pairs(user, items)
    expected = function(F.linear(function(F.linear(joined, first.weight, first.bias)), *second.parameters()))
    torch.testing.assert_close(mlp(joined), expected)
    torch.testing.assert_close(mlp.pairs(user, items), expected)


def test_dropout_is_behind_every_layer():
    mlp = MLP(D, [A, 3, 2], dropout=0.25)
    assert [type(layer) for layer in (mlp.first, *mlp.rest)] == [nn.Linear, nn.ReLU, Dropout] * 3
    assert all(layer.rate == 0.25 for layer in mlp.rest if isinstance(layer, Dropout))


def test_pair_score(user, items):
    score = PairScore(D, [A], dropout=0.0, activation="tanh", bias=False).double()
    expected = score.mlp(join_pairs(user, items)) @ score.score.weight[0]
    torch.testing.assert_close(score(user, items), expected)
    assert score.score.bias is None


@pytest.mark.parametrize(
    "construct, message",
    [
        (lambda: MLP(D, []), r"`mlp_dims` must be one or more widths of at least 1, got \[\]"),
        (
            lambda: MLP(D, [8, 0], name="mlp1_dims"),
            r"`mlp1_dims` must be one or more widths of at least 1, got \[8, 0\]",
        ),
        (lambda: MLP(D, [8], dropout=1.0), "`dropout` must be at least 0 and below 1, got 1.0"),
        (lambda: check_positive(rank=2, experts=0), "`experts` must be at least 1, got 0"),
    ],
)
def test_refusals(construct, message):
    with pytest.raises(ValueError, match=message):
        construct()
