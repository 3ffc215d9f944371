"""PNN against the paper's product layer."""

import numpy as np
import pytest

from legorec.predictors.pnn import PNNPredictor
from tests.support.pairs import D, agrees, array, linear, mlp, relu


@pytest.mark.parametrize("activation, function", [("relu", relu), ("tanh", np.tanh)])
@pytest.mark.parametrize("product", ["inner", "outer"])
def test_scores(product, activation, function):
    """l_1 = f(l_z + l_p + b_1), where l_z and l_p are sums over z and p weighted for each unit."""
    predictor = PNNPredictor(
        D, product=product, product_dim=8, mlp_dims=[7, 5], dropout=0.5, activation=activation
    )

    def score(user, item):
        fields = [user, item]
        hidden = linear(predictor.linear, np.concatenate(fields))
        for unit, weight in enumerate(array(predictor.products.weight)):
            if product == "inner":
                # Symmetric weights of p_ij = f_i . f_j: the two of u . v share theirs.
                weights = np.array([[weight[0], weight[1] / 2], [weight[1] / 2, weight[2]]])
                signals = np.array([[one @ other for other in fields] for one in fields])
            else:
                weights = weight.reshape(D, D)
                signals = sum(np.outer(one, other) for one in fields for other in fields)
            hidden[unit] += (weights * signals).sum()
        return linear(predictor.score, mlp(predictor.deep, function(hidden), function))[0]

    agrees(predictor, score)


def test_refusals():
    with pytest.raises(ValueError, match="`product_dim` must be at least 1, got 0"):
        PNNPredictor(D, product_dim=0)
    with pytest.raises(ValueError, match=r"`mlp_dims` must be one or more widths of at least 1, got \[\]"):
        PNNPredictor(D, mlp_dims=[])
