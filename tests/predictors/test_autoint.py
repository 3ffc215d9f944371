"""AutoInt against the paper's attention over fields, field by field and head by head."""

import numpy as np
import pytest
import torch

from legorec.predictors.autoint import AutoIntPredictor, FieldAttention
from tests.support.pairs import D, agrees, array, drawn, linear, mlp, relu, softmax


def attended(layer, fields):
    """relu([sum_k softmax_k(W_q e_m . W_k e_k) W_v e_k of every head] + W_r e_m)"""
    queries, keys, values, residuals = np.split(array(layer.project.weight), 4)
    out = []
    for field in fields:
        heads = []
        for query, key, value in zip(
            *(np.split(part, layer.heads) for part in (queries, keys, values)), strict=True
        ):
            weights = softmax(np.array([(query @ field) @ (key @ other) for other in fields]))
            heads.append(sum(weight * (value @ other) for weight, other in zip(weights, fields, strict=True)))
        out.append(relu(np.concatenate(heads) + residuals @ field))
    return out


@pytest.mark.parametrize("mlp_dims", [[7, 5], []])
@pytest.mark.parametrize("fields", [1, 3])
def test_scores(fields, mlp_dims):
    predictor = AutoIntPredictor(
        D, fields=fields, attention_layers=2, hidden_dim=4, heads=2, mlp_dims=mlp_dims, dropout=0.5
    )

    def score(user, item):
        values = np.split(user, fields) + np.split(item, fields)
        for layer in predictor.layers:
            values = attended(layer, values)
        out = linear(predictor.score, np.concatenate(values))[0]
        if mlp_dims:
            pair = np.concatenate([user, item])
            out += linear(predictor.deep.score, mlp(predictor.deep.mlp, pair))[0]
        return out

    agrees(predictor, score)


def test_shared_fields_are_the_same_as_repeated_ones():
    layer = drawn(FieldAttention(3, 4, heads=2, dropout=0.0))
    shared, fields = (torch.randn(*shape, 3, dtype=torch.float64) for shape in ((2, 2), (2, 5, 2)))
    repeated = torch.cat([shared.unsqueeze(1).expand_as(fields), fields], 2)
    torch.testing.assert_close(layer(fields, shared), layer(repeated))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"fields": 4}, r"`fields` must divide `input_dim` \(6\), got 4"),
        ({"fields": 0}, r"`fields` must divide `input_dim` \(6\), got 0"),
        ({"hidden_dim": 8, "heads": 3}, r"`heads` must divide `hidden_dim` \(8\), got 3"),
        ({"attention_layers": 0}, "`attention_layers` must be at least 1, got 0"),
        ({"mlp_dims": [0]}, r"`mlp_dims` must be .*, got \[0\]"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ValueError, match=message):
        AutoIntPredictor(D, **changes)
