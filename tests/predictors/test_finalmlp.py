"""FinalMLP against the paper's gates and bilinear fusion."""

import numpy as np
import pytest

from legorec.predictors.finalmlp import FinalMLPPredictor
from tests.support.pairs import D, agrees, array, linear, mlp, relu, sigmoid


@pytest.mark.parametrize("feature_selection", [True, False])
def test_scores(feature_selection):
    """The first stream is gated from the user, the second from the item; heads are joined one by one."""
    heads = 2
    predictor = FinalMLPPredictor(
        D,
        mlp1_dims=[7, 6],
        mlp2_dims=[8],
        heads=heads,
        feature_selection=feature_selection,
        gate_dim=3,
        dropout=0.5,
    )

    def gated(number, context, pair):
        first, _, second, _ = predictor.gates[number]
        return 2.0 * sigmoid(linear(second, relu(linear(first, context)))) * pair

    def score(user, item):
        one = other = np.concatenate([user, item])
        if feature_selection:
            one, other = gated(0, user, one), gated(1, item, other)
        one, other = mlp(predictor.mlp1, one), mlp(predictor.mlp2, other)
        out = linear(predictor.linear1, one)[0] + linear(predictor.linear2, other)[0]
        parts = zip(np.split(one, heads), array(predictor.bilinear), np.split(other, heads), strict=True)
        return out + sum(left @ form @ right for left, form, right in parts)

    agrees(predictor, score)


def test_without_feature_selection_there_are_no_gates():
    predictor = FinalMLPPredictor(D, feature_selection=False)
    assert not any(name.startswith("gates") for name, _ in predictor.named_parameters())


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"mlp1_dims": [8], "mlp2_dims": [6], "heads": 4},
            r"`heads` must divide the last of `mlp1_dims` \(8\) and of `mlp2_dims` \(6\), got 4",
        ),
        ({"heads": 0}, r"`heads` must divide the last of .*, got 0"),
        ({"gate_dim": 0}, "`gate_dim` must be at least 1, got 0"),
        ({"mlp1_dims": []}, r"`mlp1_dims` must be one or more widths of at least 1, got \[\]"),
        ({"mlp2_dims": [0]}, r"`mlp2_dims` must be one or more widths of at least 1, got \[0\]"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ValueError, match=message):
        FinalMLPPredictor(D, **changes)
