"""``attention`` and ``additive`` item by item."""

import pytest
import torch
from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.item_encoders.additive import AdditiveItemEncoder
from legorec.item_encoders.attention import AttentionItemEncoder
from legorec.nn.attention import AdditiveAttention

E = 8
LENGTHS = torch.tensor([[4, 7], [0, 3], [1, 0], [0, 0], [2, 1]])


@pytest.fixture
def states() -> TokenStates:
    generator = torch.Generator().manual_seed(0)
    return TokenStates(torch.randn(int(LENGTHS.sum()), E, generator=generator, dtype=torch.float64), LENGTHS)


def weighted_mean(attention: AdditiveAttention, row: Tensor) -> Tensor:
    weights = torch.exp(torch.tanh(row @ attention.hidden.weight.T + attention.hidden.bias) @ attention.query)
    return (weights / weights.sum()) @ row


def test_attention_is_torchs_with_its_two_projections_in_one(states):
    """nn.MultiheadAttention with biases on keys and values, and a dense layer behind it."""
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(E, 2, batch_first=True).double()
    dense = nn.Linear(E, E).double()
    theirs.in_proj_bias.data.normal_()
    theirs.in_proj_bias.data[:E] = 0.0
    theirs.out_proj.bias.data.normal_()
    encoder = AttentionItemEncoder(E, hidden_dim=E, heads=2, attention_dim=5).double().eval()
    encoder.tokens.qkv.weight.data = theirs.in_proj_weight.data
    encoder.project.weight.data = dense.weight.data @ theirs.out_proj.weight.data
    encoder.project.bias.data = dense(theirs.out_proj(theirs.in_proj_bias[2 * E :])).data
    for row, vector in zip(states.values.split(LENGTHS.sum(1).tolist()), encoder(states), strict=True):
        expected = torch.zeros(E).double()
        if len(row):
            mixed = dense(theirs(row[None], row[None], row[None], need_weights=False)[0][0])
            expected = weighted_mean(encoder.pool, mixed)
        torch.testing.assert_close(vector, expected)


@pytest.mark.parametrize("hidden_dim", [E, 5])
def test_additive_is_a_weighted_mean_of_all_tokens(states, hidden_dim):
    torch.manual_seed(0)
    encoder = AdditiveItemEncoder(E, hidden_dim=hidden_dim, attention_dim=5).double()
    assert encoder.output_dim == hidden_dim
    assert len(list(encoder.project.parameters())) == (hidden_dim != E)
    for row, vector in zip(states.values.split(LENGTHS.sum(1).tolist()), encoder(states), strict=True):
        expected = weighted_mean(encoder.pool, row) if len(row) else torch.zeros(E).double()
        torch.testing.assert_close(vector, encoder.project(expected))


def test_refusals():
    with pytest.raises(ValueError, match=r"`heads` must divide `hidden_dim` \(64\), got 5"):
        AttentionItemEncoder(E, heads=5)
    with pytest.raises(ValueError, match="`dropout` must be at least 0 and below 1, got -0.1"):
        AttentionItemEncoder(E, dropout=-0.1)
