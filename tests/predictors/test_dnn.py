"""DNN against its formula."""

import numpy as np
import pytest

from legorec.predictors.dnn import DNNPredictor
from tests.support.pairs import D, agrees, linear, mlp, relu, sigmoid


@pytest.mark.parametrize("activation, function", [("relu", relu), ("tanh", np.tanh), ("sigmoid", sigmoid)])
def test_scores(activation, function):
    predictor = DNNPredictor(D, mlp_dims=[7, 5], dropout=0.5, activation=activation)

    def score(user, item):
        return linear(predictor.deep.score, mlp(predictor.deep.mlp, np.concatenate([user, item]), function))[
            0
        ]

    agrees(predictor, score)


def test_refusals():
    with pytest.raises(ValueError, match=r"`mlp_dims` must be one or more widths of at least 1, got \[\]"):
        DNNPredictor(D, mlp_dims=[])
