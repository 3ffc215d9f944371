"""GDCN against the paper's recursion."""

import numpy as np
import pytest

from legorec.predictors.gdcn import GDCNPredictor
from tests.support.pairs import D, agrees, array, linear, mlp, sigmoid


@pytest.mark.parametrize("structure, mlp_dims", [("parallel", [7, 5]), ("stacked", [7, 5]), ("stacked", [])])
def test_scores(structure, mlp_dims):
    """x_{l+1} = x_0 * (W_c x_l + b) * sigmoid(W_g x_l) + x_l"""
    predictor = GDCNPredictor(D, cross_layers=3, structure=structure, mlp_dims=mlp_dims, dropout=0.5)
    network = predictor.network

    def score(user, item):
        start = np.concatenate([user, item])
        values = start
        for layer in network.cross.layers:
            crossed = array(layer.linear.weight) @ values + array(layer.linear.bias)
            values = start * crossed * sigmoid(array(layer.gate.weight) @ values) + values
        if structure == "stacked":
            return linear(network.score, mlp(network.behind, values) if mlp_dims else values)[0]
        deep = linear(network.beside.score, mlp(network.beside.mlp, start))[0]
        return linear(network.score, values)[0] + deep

    agrees(predictor, score)


def test_refusals():
    with pytest.raises(ValueError, match="`cross_layers` must be at least 1, got 0"):
        GDCNPredictor(D, cross_layers=0)
    with pytest.raises(ValueError, match=r"`mlp_dims` must be .*, got \[0\]"):
        GDCNPredictor(D, mlp_dims=[0])
