"""DCN against the paper's recursion."""

import numpy as np
import pytest

from legorec.predictors.dcn import DCNPredictor
from tests.support.pairs import D, agrees, array, mlp


@pytest.mark.parametrize("mlp_dims", [[7, 5], []])
def test_scores(mlp_dims):
    """x_{l+1} = x_0 (x_l . w_l) + b_l + x_l beside h = MLP(x_0); linear in [x_L; h]."""
    predictor = DCNPredictor(D, cross_layers=4, mlp_dims=mlp_dims, dropout=0.5)
    cross = predictor.cross

    def score(user, item):
        start = np.concatenate([user, item])
        values = start
        for weight, bias in zip(array(cross.weight), array(cross.bias), strict=True):
            values = start * (values @ weight) + bias + values
        weight = array(cross.score.weight)[0]
        if mlp_dims:
            weight = np.concatenate([weight, array(predictor.deep.score.weight)[0]])
            values = np.concatenate([values, mlp(predictor.deep.mlp, start)])
        return weight @ values + array(cross.score.bias)[0]

    agrees(predictor, score)


def test_refusals():
    with pytest.raises(ValueError, match="`cross_layers` must be at least 1, got -1"):
        DCNPredictor(D, cross_layers=-1)
    with pytest.raises(ValueError, match=r"`mlp_dims` must be .*, got \[0\]"):
        DCNPredictor(D, mlp_dims=[0])
