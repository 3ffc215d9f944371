"""DCN V2 and DCN-Mix against the paper's recursions."""

import numpy as np
import pytest

from legorec.predictors.dcnv2 import DCNv2Predictor
from tests.support.pairs import D, agrees, array, linear, mlp, sigmoid, softmax


def mixture(layer, start, values, gate):
    """sum_i G_i(x_l) x_0 * (U_i tanh(C_i tanh(V_i' x_l)) + b_l), expert by expert."""
    experts, rank, _ = layer.mix.shape
    gates = {"softmax": softmax, "sigmoid": sigmoid}[gate](linear(layer.gate, values))
    total = 0.0
    for number in range(experts):
        part = slice(number * rank, (number + 1) * rank)
        down, up = array(layer.down.weight)[part], array(layer.up.weight)[:, part]
        low = np.tanh(array(layer.mix)[number].T @ np.tanh(down @ values))
        total = total + gates[number] * start * (up @ low + array(layer.bias))
    return total


@pytest.mark.parametrize("structure", ["parallel", "stacked"])
@pytest.mark.parametrize("gate", [None, "softmax", "sigmoid"])
def test_scores(structure, gate):
    predictor = DCNv2Predictor(
        D,
        cross_layers=2,
        structure=structure,
        mixture=gate is not None,
        experts=3,
        rank=2,
        gate=gate or "softmax",
        mlp_dims=[7, 5],
        dropout=0.5,
    )
    network = predictor.network

    def score(user, item):
        start = np.concatenate([user, item])
        values = start
        for layer in network.cross.layers:
            if gate is None:
                values = start * linear(layer.linear, values) + values
            else:
                values = mixture(layer, start, values, gate) + values
        if structure == "stacked":
            return linear(network.score, mlp(network.behind, values))[0]
        deep = linear(network.beside.score, mlp(network.beside.mlp, start))[0]
        return linear(network.score, values)[0] + deep

    agrees(predictor, score)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"cross_layers": -2}, "`cross_layers` must be at least 1, got -2"),
        ({"mixture": True, "experts": 0}, "`experts` must be at least 1, got 0"),
        ({"mixture": True, "rank": 0}, "`rank` must be at least 1, got 0"),
        ({"mlp_dims": [4, -1]}, r"`mlp_dims` must be .*, got \[4, -1\]"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ValueError, match=message):
        DCNv2Predictor(D, **changes)
