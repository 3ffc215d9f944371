"""DeepFM against its three sums."""

import numpy as np
import pytest

from legorec.predictors.deepfm import DeepFMPredictor
from tests.support.pairs import D, agrees, linear, mlp, relu


@pytest.mark.parametrize("activation, function", [("relu", relu), ("tanh", np.tanh)])
def test_scores(activation, function):
    """w . [u; v] + b + u . v + MLP([u; v]), a sum and not a mean."""
    predictor = DeepFMPredictor(D, mlp_dims=[7, 5], dropout=0.5, activation=activation)

    def score(user, item):
        pair = np.concatenate([user, item])
        # The machine's own form: half of (square of the sum - sum of the squares).
        second = 0.5 * ((user + item) ** 2 - user**2 - item**2).sum()
        deep = linear(predictor.deep.score, mlp(predictor.deep.mlp, pair, function))[0]
        return linear(predictor.linear, pair)[0] + second + deep

    agrees(predictor, score)


def test_refusals():
    with pytest.raises(ValueError, match=r"`mlp_dims` must be one or more widths of at least 1, got \[\]"):
        DeepFMPredictor(D, mlp_dims=[])
