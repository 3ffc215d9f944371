"""BST against torch's transformer layer over each history with each candidate behind it."""

import pytest
import torch
from torch import Tensor

from legorec.nn.rows import rows_of
from legorec.predictors.bst import BSTPredictor
from tests.support import torch_layers
from tests.support.torch_layers import moved

LENGTHS = [3, 0, 7, 1]
SMALL = {"heads": 2, "ffn_factor": 3, "mlp_dims": [6, 5]}


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    mask = torch.arange(8) < torch.tensor(LENGTHS).unsqueeze(1)
    clicks = torch.randn(4, 8, 8, dtype=torch.float64).masked_fill(~mask.unsqueeze(2), 1e4)
    return clicks, torch.randn(4, 3, 8, dtype=torch.float64), mask


def test_formula():
    predictor = moved(BSTPredictor(8, max_history=5, **SMALL))
    activation = torch.nn.functional.leaky_relu
    layer = torch_layers.encoder_layer(predictor.attention, predictor.out, predictor.behind, activation)
    clicks, candidates, mask = inputs()
    scores = predictor(clicks, candidates, mask)
    table = predictor.positions.table
    for row, length, its_candidates, its_scores in zip(clicks, LENGTHS, candidates, scores, strict=True):
        placed = row[:length] + table[[min(5, 1 + step) for step in range(length)][::-1]]
        for candidate, score in zip(its_candidates, its_scores, strict=True):
            states = layer(torch.cat([placed, candidate[None] + table[:1]])[None])[0]
            middle = states[:-1].mean(0) if length else torch.zeros(8).double()
            values = torch.cat([states[-1], middle])
            for dense in (predictor.mlp[0], predictor.mlp[3]):
                values = activation(dense(values))
            torch.testing.assert_close(score, predictor.score(values)[0])


def test_padded_clicks_are_the_same():
    predictor = moved(BSTPredictor(8, max_history=5, **SMALL))
    clicks, candidates, mask = inputs()
    leaves = list(predictor.parameters())
    packed = predictor._score(*rows_of(clicks, mask), candidates)
    zeroed = clicks.masked_fill(~mask.unsqueeze(2), 0.0)
    padded = predictor._score(zeroed, mask, candidates)
    torch.testing.assert_close(padded, packed)
    grads = [torch.autograd.grad(each.square().sum(), leaves) for each in (padded, packed)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)
    nothing = torch.zeros_like(mask)
    none_padded = predictor._score(torch.zeros_like(clicks), nothing, candidates)
    torch.testing.assert_close(none_padded, predictor(clicks, candidates, nothing))
    torch.testing.assert_close(none_padded, predictor(clicks[:, :0], candidates, mask[:, :0]))


def test_a_candidate_changes_no_other_score():
    predictor = moved(BSTPredictor(8, max_history=5, **SMALL))
    clicks, candidates, mask = inputs()
    candidates.requires_grad_()
    (grad,) = torch.autograd.grad(predictor(clicks, candidates, mask)[:, 1].square().sum(), candidates)
    assert grad[:, 1].abs().sum(1).all() and not grad[:, [0, 2]].any()


def test_the_dense_layers_are_the_papers():
    predictor = BSTPredictor(16, max_history=5)
    widths = [layer.out_features for layer in predictor.mlp if hasattr(layer, "out_features")]
    assert widths == [1024, 512, 256] and predictor.mlp[0].in_features == 32


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"heads": 5}, r"`heads` must divide `input_dim` \(16\), got 5"),
        ({"ffn_factor": 0}, "`ffn_factor` must be at least 1, got 0"),
        ({"mlp_dims": []}, r"`mlp_dims` must be one or more widths of at least 1, got \[\]"),
        ({"mlp_dims": [8, 0]}, r"`mlp_dims` must be one or more widths of at least 1, got \[8, 0\]"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ValueError, match=message):
        BSTPredictor(16, max_history=5, **changes)
