"""Cross networks against their recursions in numpy, pair by pair."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from legorec.nn.cross import CrossAndDeep, CrossNetwork, GatedCross, MatrixCross, MixtureCross, VectorCross
from tests.support.pairs import D, agrees, array, drawn, linear, mlp, sigmoid, softmax

LAYERS = 3


def expert_sum(layer: MixtureCross, values: np.ndarray) -> np.ndarray:
    """sum_i G_i(x) (U_i tanh(C_i tanh(V_i' x)) + b)"""
    experts, rank, _ = layer.mix.shape
    gates = [1.0]
    if layer.gate is not None:
        gates = (softmax if layer.shares_one else sigmoid)(linear(layer.gate, values))
    total = np.zeros_like(values)
    for number in range(experts):
        part = slice(number * rank, (number + 1) * rank)
        inner = np.tanh(array(layer.down.weight)[part] @ values)
        inner = np.tanh(array(layer.mix)[number].T @ inner)
        total += gates[number] * (array(layer.up.weight)[:, part] @ inner + array(layer.bias))
    return total


def by_hand(layer: nn.Module, values: np.ndarray) -> np.ndarray:
    """What a layer multiplies with x_0."""
    if isinstance(layer, MixtureCross):
        return expert_sum(layer, values)
    if isinstance(layer, GatedCross):
        return linear(layer.linear, values) * sigmoid(linear(layer.gate, values))
    return linear(layer.linear, values)


def crossed(layers: nn.ModuleList, start: np.ndarray) -> np.ndarray:
    """x_{l+1} = x_0 * layer(x_l) + x_l"""
    values = start
    for layer in layers:
        values = start * by_hand(layer, values) + values
    return values


KINDS = {
    "matrix": lambda: MatrixCross(D),
    "gated": lambda: GatedCross(D),
    "softmax": lambda: MixtureCross(D, experts=3, rank=2, gate="softmax"),
    "sigmoid": lambda: MixtureCross(D, experts=3, rank=2, gate="sigmoid"),
    "one expert": lambda: MixtureCross(D, experts=1, rank=2, gate="softmax"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_cross_network(kind):
    network = drawn(CrossNetwork(KINDS[kind]() for _ in range(LAYERS)))
    user = torch.randn(2, D, dtype=torch.float64)
    items = torch.randn(2, 4, D, dtype=torch.float64)
    values = array(network(user, items))
    for row in range(2):
        for column in range(4):
            start = np.concatenate([array(user[row]), array(items[row, column])])
            np.testing.assert_allclose(values[row, column], crossed(network.layers, start), rtol=1e-9)


@pytest.mark.parametrize("structure, mlp_dims", [("parallel", [5, 4]), ("stacked", [5, 4]), ("parallel", [])])
def test_cross_and_deep(structure, mlp_dims):
    network = CrossAndDeep(D, [MatrixCross(D) for _ in range(LAYERS)], structure, mlp_dims, dropout=0.5)

    def score(user, item):
        start = np.concatenate([user, item])
        values = crossed(network.cross.layers, start)
        if not mlp_dims:
            return linear(network.score, values)[0]
        if structure == "stacked":
            return linear(network.score, mlp(network.behind, values))[0]
        # One linear layer over [x_L; h].
        weight = np.concatenate([array(network.score.weight)[0], array(network.beside.score.weight)[0]])
        joined = np.concatenate([values, mlp(network.beside.mlp, start)])
        return weight @ joined + array(network.score.bias)[0]

    agrees(network, score)


def test_vector_cross():
    network = VectorCross(D, LAYERS)

    def score(user, item):
        start = np.concatenate([user, item])
        values = start
        for weight, bias in zip(array(network.weight), array(network.bias), strict=True):
            values = start * (values @ weight) + bias + values
        return linear(network.score, values)[0]

    agrees(network, score)


class Largest(TorchDispatchMode):
    """The most numbers that any tensor held."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.numbers = max(self.numbers, out.numel())
        return out


def test_vector_cross_forms_no_pair():
    user, items = torch.randn(8, 64), torch.randn(8, 50, 64)
    network = VectorCross(64, LAYERS)
    with torch.inference_mode(), Largest() as largest:
        network(user, items)
    assert largest.numbers <= items.numel()


def test_the_first_layer_does_a_users_half_once():
    B, K = 2, 10
    network = CrossNetwork([MatrixCross(D), MatrixCross(D)])
    with FlopCounterMode(display=False) as counter:
        network(torch.randn(B, D), torch.randn(B, K, D))
    assert counter.get_total_flops() == 2 * 2 * D * (B * D + B * K * D + B * K * 2 * D)


@pytest.mark.parametrize(
    "construct, message",
    [
        (lambda: VectorCross(D, 0), "`cross_layers` must be at least 1, got 0"),
        (lambda: MixtureCross(D, 0, 2, "softmax"), "`experts` must be at least 1, got 0"),
        (lambda: MixtureCross(D, 2, 0, "softmax"), "`rank` must be at least 1, got 0"),
    ],
)
def test_refusals(construct, message):
    with pytest.raises(ValueError, match=message):
        construct()
