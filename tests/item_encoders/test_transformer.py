"""Item encoders of transformer and Fastformer layers, item by item."""

import pytest
import torch

from legorec.batch import TokenStates
from legorec.item_encoders.fastformer import FastformerItemEncoder
from legorec.item_encoders.transformer import TransformerItemEncoder
from legorec.nn.segments import Segments
from tests.support import torch_layers
from tests.support.torch_layers import moved, weighted_mean

LENGTHS = torch.tensor([[4, 1, 7], [0, 1, 3], [1, 0, 0], [0, 0, 0], [2, 1, 1]])
SMALL = {"hidden_dim": 8, "layers": 2, "heads": 2, "ffn_factor": 3, "attention_dim": 5, "max_length": 12}


@pytest.fixture
def states() -> TokenStates:
    values = torch.randn(int(LENGTHS.sum()), 6, dtype=torch.float64)
    return TokenStates(values, LENGTHS)


@pytest.mark.parametrize("encoder_class", [TransformerItemEncoder, FastformerItemEncoder])
def test_every_item_by_itself(encoder_class, states):
    encoder = moved(encoder_class(6, **SMALL))
    tokens = encoder.tokens
    if encoder_class is TransformerItemEncoder:
        run = torch_layers.transformer(tokens.layers.layers)
    else:
        run = lambda row: tokens.layers(row, Segments(torch.tensor([len(row)])))  # noqa: E731
    rows = states.values.split(LENGTHS.sum(1).tolist())
    for row, vector in zip(rows, encoder(states), strict=True):
        if len(row) == 0:
            assert not vector.any()
            continue
        placed = tokens.project(row) + tokens.positions.table[: len(row)]
        torch.testing.assert_close(vector, weighted_mean(tokens.pool, run(placed)))


@pytest.mark.parametrize("encoder_class", [TransformerItemEncoder, FastformerItemEncoder])
def test_refusals(encoder_class, states):
    with pytest.raises(ValueError, match="`max_length` must be at least 12, the tokens of .*, got 11"):
        encoder_class(6, **SMALL | {"max_length": 11}).double()(states)
    with pytest.raises(ValueError, match=r"`heads` must divide `hidden_dim` \(8\), got 3"):
        encoder_class(6, **SMALL | {"heads": 3})
    with pytest.raises(ValueError, match="`max_length` must be at least 1, got 0"):
        encoder_class(6, **SMALL | {"max_length": 0})


def test_no_projection_where_the_widths_are_equal():
    assert len(list(TransformerItemEncoder(8, **SMALL).tokens.project.parameters())) == 0
