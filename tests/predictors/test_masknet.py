"""MaskNet against the paper's blocks."""

import numpy as np
import pytest

from legorec.predictors.masknet import MaskNetPredictor
from tests.support.pairs import D, agrees, array, linear, mlp, relu


def normed(norm, values):
    centred = values - values.mean()
    scaled = centred / np.sqrt((centred**2).mean() + norm.eps)
    return scaled * array(norm.weight) + array(norm.bias)


def masked(block, pair, values):
    """relu(LN(W (mask * x))), mask = W_2 relu(W_1 [u; v] + b_1) + b_2"""
    mask = linear(block.project, relu(linear(block.aggregate, pair)))
    return relu(normed(block.norm, linear(block.hidden, mask * values)))


@pytest.mark.parametrize("mlp_dims", [None, [], [7, 5]])
@pytest.mark.parametrize("structure", ["parallel", "serial"])
def test_scores(structure, mlp_dims):
    predictor = MaskNetPredictor(
        D, structure=structure, blocks=3, block_dim=5, ratio=1.5, mlp_dims=mlp_dims, dropout=0.5
    )

    def embedded(norm, user, item):
        return np.concatenate([normed(norm.user, user), normed(norm.item, item)])

    def score(user, item):
        pair = np.concatenate([user, item])
        if structure == "parallel":
            blocks = zip(predictor.norms, predictor.blocks, strict=True)
            values = np.concatenate(
                [masked(block, pair, embedded(norm, user, item)) for norm, block in blocks]
            )
        else:
            values = embedded(predictor.norms[0], user, item)
            for block in predictor.blocks:
                values = masked(block, pair, values)
        if mlp_dims is None:
            assert (predictor.deep is not None) == (structure == "parallel")
        return linear(predictor.score, values if predictor.deep is None else mlp(predictor.deep, values))[0]

    agrees(predictor, score)
    assert [block.aggregate.out_features for block in predictor.blocks] == [
        round(1.5 * block.project.out_features) for block in predictor.blocks
    ]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"blocks": 0}, "`blocks` must be at least 1, got 0"),
        ({"block_dim": 0}, "`block_dim` must be at least 1, got 0"),
        ({"ratio": 0.5}, "`ratio` must be at least 1, got 0.5"),
        ({"mlp_dims": [0]}, r"`mlp_dims` must be .*, got \[0\]"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ValueError, match=message):
        MaskNetPredictor(D, **changes)
